/**
 * Types of the server's answers and of the page's state. Nothing here runs.
 *
 * @typedef {{label: number, name: string}} ClassName
 * @typedef {Object} Property
 * @property {string} name
 * @property {string} title
 * @property {string} unit
 * @property {string} ends  What the least and the largest value mean.
 * @property {?number} low
 * @property {?number} high
 * @property {number} digits  Decimal places.
 * @typedef {{name: string, kind: "text"|"integer"|"real"}} Column
 * @typedef {Object<string, string|number|null>} ItemRecord
 *
 * @typedef {Object} Archive  Answer of `GET api/archive`.
 * @property {string} name
 * @property {"scans"|"images"} form
 * @property {number} items  Items of the run, archived or not.
 * @property {number} archived
 * @property {number} bits
 * @property {string} network
 * @property {ClassName[]} classes
 * @property {Property[]} properties
 * @property {Column[]} columns
 * @property {SearchOptions} options  Defaults of a search in this archive.
 * @property {{upload_bytes: number, upload_files: number, unpacked_bytes: number,
 *   results: number}} limits
 * @property {{name: string}[]} roots
 * @property {number} item_side_px
 * @property {string} not_a_medical_device
 *
 * @typedef {Object} SearchOptions  Fields of `inres.searching.hits.SearchOptions`.
 * @property {number} [k]
 * @property {number} [threshold]
 * @property {number} [min_pool]
 * @property {number} [nearest]
 * @property {"euclidean"|"hamming"} [rank]
 * @property {boolean} [same_class]
 * @property {""|"nodule"|"scan"} [distinct]
 * @property {string} [where]
 * @property {boolean} [own_scan]
 * @property {Object<string, number>} [weights]
 *
 * @typedef {{root: string, path: string, series_uid?: string}} Source  A scan below a root.
 *
 * @typedef {Object} Scan  Answer of `GET api/scans/{id}`.
 * @property {string} id
 * @property {string} name
 * @property {"reading"|"ready"|"failed"} state
 * @property {?number} progress  0 to 1.
 * @property {string} message
 * @property {?{message: string, fix?: string}} error
 * @property {[number, number, number]} shape  Slices, rows, columns.
 * @property {[number, number, number]} spacing_mm  z, y, x.
 * @property {number[][]} index_to_world  4 x 4: (x, y, z, 1) in LPS mm from
 *   (slice, row, column, 1).
 * @property {number} lungs  How many were found.
 * @property {string[]} notes
 * @property {{uid: string, text: string}[]} series
 * @property {string} series_uid  Empty if it is not DICOM.
 * @property {?Source} source  Null for uploads.
 * @property {Object<string, [number, number]>} windows  Lower and upper HU by name.
 *
 * @typedef {Object} Respect  How a result compares with the query in one property.
 * @property {string} name
 * @property {string} title
 * @property {?number} query
 * @property {?number} item
 * @property {?number} difference_sd
 * @property {"similar"|"partly"|"different"|"unknown"} verdict
 *
 * @typedef {Object} Hit
 * @property {number} rank
 * @property {number} item
 * @property {string} image
 * @property {number} hamming
 * @property {?number} distance
 * @property {?number} label
 * @property {?string} class
 * @property {string} scan
 * @property {string} nodule
 * @property {?number} diameter_mm
 * @property {ItemRecord} record
 * @property {Object<string, number>} properties
 * @property {Object<string, number>} differences
 * @property {Respect[]} respects
 *
 * @typedef {Object} QueryAnswer
 * @property {string} name
 * @property {string} kind
 * @property {?string} image
 * @property {?ClassName} predicted
 * @property {?number} label
 * @property {?string} class  Of its record.
 * @property {?number} diameter_mm
 * @property {string} scan
 * @property {Object<string, number>} properties
 * @property {Object<string, number>} known
 * @property {string[]} notes
 *
 * @typedef {Object} Answer  Answer of `POST api/search`.
 * @property {QueryAnswer} query
 * @property {number} pool_size
 * @property {string} pool_text
 * @property {number} threshold
 * @property {boolean} own_scan_excluded
 * @property {string} summary
 * @property {SearchOptions} options  All options of this search.
 * @property {number} took_ms
 * @property {Hit[]} hits
 *
 * @typedef {Object} Item  Answer of `GET api/items/{n}`.
 * @property {number} item
 * @property {ItemRecord} record
 * @property {?string} class
 * @property {string} image
 * @property {ItemSlices} slices
 * @property {Origin} origin
 * @property {boolean} archived
 *
 * @typedef {Object} Origin
 * @property {string} scan
 * @property {string} series_uid
 * @property {boolean} available
 * @property {?string} root
 * @property {?string} path
 * @property {(?number)[]} world_mm
 *
 * @typedef {Object} ItemSlices
 * @property {number} count
 * @property {number} own  Index of the item's own slice.
 * @property {?(?number)[]} z_mm
 * @property {number} side_px
 * @property {?number} pixel_mm
 * @property {?[number, number]} window_hu  The HU that are black and white in the images.
 * @property {[?number, ?number]} point  Row and column of the item's place; null where all of the
 *   images is what the network sees.
 * @property {?number} seen_px  Side of the part that the network sees.
 * @property {string[]} images
 *
 * @typedef {[number, number, number]} Vector  Either x, y, z in mm or slice, row, column.
 *
 * @typedef {{kind: "scan", scan: string, world: ?Vector}} ScanQuery  World is null before a click.
 * @typedef {{kind: "item", item: number}} ItemQuery
 * @typedef {{kind: "image", image: string, name: string}} ImageQuery
 * @typedef {ScanQuery|ItemQuery|ImageQuery} Query
 *
 * @typedef {{column: string, operator: string, value: string, upper: string}} Condition
 *
 * @typedef {Object} Filters
 * @property {number[]} classes  Labels; empty for all.
 * @property {?number} smallest  Diameter in mm.
 * @property {?number} largest
 * @property {Condition[]} conditions
 * @property {string} sql
 *
 * @typedef {{urls: string[], rows: number, columns: number}} Picture  Of one size, lowest first.
 *
 * @typedef {Object} Problem  An error to show.
 * @property {string} [what]  What does not work.
 * @property {string} message
 * @property {string} [fix]
 * @property {number} [status]
 *
 * @typedef {Object} Opening  A scan on its way.
 * @property {string} name
 * @property {"uploading"|"reading"} phase
 * @property {?number} progress  0 to 1.
 * @property {string} message
 *
 * @typedef {Object} State
 * @property {"connecting"|"ready"|"unreachable"|"token"} connection
 * @property {"starting"|"ready"|"failed"} networks  Of the server.
 * @property {?Archive} archive
 * @property {?Opening} opening
 * @property {?Problem} problem  Why the last scan or image could not be opened.
 * @property {?Scan} scan  The scan that is open, also while an item is the query.
 * @property {?Query} query
 * @property {?Item} item  Of a query by item.
 * @property {?Picture} picture  Of a query by image, if the browser can show it.
 * @property {number} slice
 * @property {string} window
 * @property {SearchOptions} given  Options that differ from the archive's defaults.
 * @property {Filters} filters
 * @property {"idle"|"searching"|"done"|"failed"} status
 * @property {?Answer} answer  The last results, kept while a search runs.
 * @property {?Problem} failure  Of the last search.
 * @property {"open"|"view"} pane  What the query column shows.
 * @property {"list"|"grid"} layout
 * @property {boolean} filtersOpen
 */

export {};
