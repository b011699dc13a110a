"""JSON Schemas of what the API takes and gives."""

from typing import Any

Schema = dict[str, Any]


def _either(*types: str) -> Schema:
    return {"type": list(types)}


def _object(properties: dict[str, Schema], optional: tuple[str, ...] = (), **more: Any) -> Schema:
    required = [name for name in properties if name not in optional]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
        **more,
    }


def _array(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


TEXT, WHOLE, NUMBER, FLAG = ({"type": kind} for kind in ("string", "integer", "number", "boolean"))
KNOWN_NUMBER, KNOWN_WHOLE, KNOWN_TEXT = (
    _either(kind, "null") for kind in ("number", "integer", "string")
)
"""Null where unknown."""
VALUES = {"type": "object", "additionalProperties": KNOWN_NUMBER}
"""Properties by name."""
RECORD = {
    "type": "object",
    "additionalProperties": _either("number", "string", "null"),
    "description": "The columns of `Archive.columns` in /api/archive.",
}
WORLD = _array(NUMBER, minItems=3, maxItems=3, description="x, y, z in mm (LPS).")

OPTIONS = _object(
    {
        "k": {**WHOLE, "minimum": 1},
        "threshold": {**WHOLE, "minimum": 1},
        "min_pool": {**WHOLE, "minimum": 0},
        "nearest": {**WHOLE, "minimum": 0},
        "rank": _one_of("euclidean", "hamming"),
        "same_class": FLAG,
        "distinct": _one_of("", "nodule", "scan"),
        "where": {**TEXT, "maxLength": 10_000},
        "own_scan": FLAG,
        "weights": {"type": "object", "additionalProperties": NUMBER},
    },
    description="Fields of inres.SearchOptions; those of the archive by default.",
)

SCHEMAS: dict[str, Schema] = {
    "Error": _object(
        {"error": _object({"message": TEXT, "fix": TEXT}, optional=("fix",))},
    ),
    "Health": _object(
        {
            "status": {
                **_one_of("starting", "ready", "failed"),
                "description": "Whether the networks are loaded; queries wait until they are.",
            },
            **{"version": TEXT, "items": WHOLE},
        }
    ),
    "Archive": _object(
        {
            "name": TEXT,
            "form": _one_of("scans", "images"),
            "items": WHOLE,
            "archived": WHOLE,
            "bits": WHOLE,
            "network": TEXT,
            "classes": _array(_object({"label": WHOLE, "name": TEXT})),
            "properties": _array(
                _object(
                    {
                        **{"name": TEXT, "title": TEXT, "unit": TEXT, "ends": TEXT},
                        **{"low": KNOWN_NUMBER, "high": KNOWN_NUMBER, "digits": WHOLE},
                    }
                )
            ),
            "columns": _array(_object({"name": TEXT, "kind": _one_of("text", "integer", "real")})),
            "options": OPTIONS,
            "limits": _object(
                {
                    **{"upload_bytes": WHOLE, "upload_files": WHOLE},
                    **{"unpacked_bytes": WHOLE, "results": WHOLE},
                }
            ),
            "roots": _array(_object({"name": TEXT})),
            "item_side_px": WHOLE,
            "not_a_medical_device": TEXT,
        }
    ),
    "Files": _object(
        {
            "root": TEXT,
            "path": TEXT,
            "entries": _array(
                _object(
                    {
                        "name": TEXT,
                        "path": TEXT,
                        "kind": _one_of("folder", "scan", "series"),
                        "bytes": KNOWN_WHOLE,
                    }
                )
            ),
        }
    ),
    "OpenScan": {
        "oneOf": [
            _object({"root": TEXT, "path": TEXT, "series_uid": TEXT}, optional=("series_uid",)),
            _object({"scan": TEXT, "series_uid": TEXT}),
        ]
    },
    "Opened": _object({"id": TEXT}),
    "Uploaded": _object({"id": TEXT, "kind": _one_of("scan", "image")}),
    "Scan": _object(
        {
            "id": TEXT,
            "name": TEXT,
            "state": _one_of("reading", "ready", "failed"),
            "progress": KNOWN_NUMBER,
            "message": TEXT,
            "error": {"oneOf": [{"type": "null"}, _object({"message": TEXT})]},
            "source": {"oneOf": [{"type": "null"}, _object({"root": TEXT, "path": TEXT})]},
            "series_uid": TEXT,
            "series": _array(_object({"uid": TEXT, "text": TEXT})),
            "windows": {"type": "object", "additionalProperties": _array(NUMBER)},
            "shape": _array(WHOLE, minItems=3, maxItems=3, description="slices, rows, columns"),
            "spacing_mm": _array(NUMBER, minItems=3, maxItems=3, description="z, y, x"),
            "index_to_world": _array(
                _array(NUMBER, minItems=4, maxItems=4),
                minItems=4,
                maxItems=4,
                description="(x, y, z, 1) in mm (LPS) = M (slice, row, column, 1)",
            ),
            "lungs": {**WHOLE, "description": "Number of lungs that were found, 0 to 2."},
            "notes": _array(TEXT),
        },
        optional=("shape", "spacing_mm", "index_to_world", "lungs", "notes"),
    ),
    "Search": _object(
        {
            "query": {
                "oneOf": [
                    _object({"scan": TEXT, "world_mm": WORLD}),
                    _object({"scan": TEXT, "slice_index": WHOLE}),
                    _object({"item": WHOLE}),
                    _object(
                        {"image": TEXT, "z_mm": _array(NUMBER), "slice_mm": NUMBER},
                        optional=("z_mm", "slice_mm"),
                    ),
                    _object({"code": _array(WHOLE), "features": _array(NUMBER)}),
                ]
            },
            "options": {**OPTIONS, "required": []},
        },
        optional=("options",),
    ),
    "Found": _object(
        {
            "query": _object(
                {
                    "name": TEXT,
                    "kind": _one_of("scan", "item", "image", "code"),
                    "image": KNOWN_TEXT,
                    "predicted": {
                        "oneOf": [{"type": "null"}, _object({"label": WHOLE, "name": TEXT})]
                    },
                    "label": KNOWN_WHOLE,
                    "class": KNOWN_TEXT,
                    "diameter_mm": KNOWN_NUMBER,
                    "scan": TEXT,
                    "properties": VALUES,
                    "known": VALUES,
                    "notes": _array(TEXT),
                }
            ),
            "pool_size": WHOLE,
            "pool_text": TEXT,
            "threshold": WHOLE,
            "own_scan_excluded": FLAG,
            "summary": TEXT,
            "took_ms": NUMBER,
            "options": OPTIONS,
            "hits": _array(_ref("Hit")),
        }
    ),
    "Hit": _object(
        {
            "rank": WHOLE,
            "item": WHOLE,
            "image": TEXT,
            "hamming": WHOLE,
            "distance": KNOWN_NUMBER,
            "label": KNOWN_WHOLE,
            "class": KNOWN_TEXT,
            "scan": KNOWN_TEXT,
            "nodule": KNOWN_TEXT,
            "diameter_mm": KNOWN_NUMBER,
            "record": RECORD,
            "properties": VALUES,
            "differences": VALUES,
            "respects": _array(
                _object(
                    {
                        "name": TEXT,
                        "title": TEXT,
                        "query": KNOWN_NUMBER,
                        "item": KNOWN_NUMBER,
                        "difference_sd": KNOWN_NUMBER,
                        "verdict": _one_of("similar", "partly", "different", "unknown"),
                    }
                )
            ),
        }
    ),
    "Item": _object(
        {
            "item": WHOLE,
            "record": RECORD,
            "label": KNOWN_WHOLE,
            "class": KNOWN_TEXT,
            "image": TEXT,
            "slices": _object(
                {
                    "count": WHOLE,
                    "own": WHOLE,
                    "z_mm": {"oneOf": [{"type": "null"}, _array(NUMBER)]},
                    "side_px": WHOLE,
                    "pixel_mm": KNOWN_NUMBER,
                    "point": _array(KNOWN_NUMBER, description="row and column of the item's place"),
                    "seen_px": {
                        **NUMBER,
                        "description": "side of the square around point that the network sees",
                    },
                    "window_hu": {
                        "oneOf": [{"type": "null"}, _array(NUMBER)],
                        "description": "the HU that are black and white in the images",
                    },
                    "images": _array(TEXT),
                }
            ),
            "origin": _object(
                {
                    **{"scan": TEXT, "series_uid": TEXT, "available": FLAG},
                    **{"root": KNOWN_TEXT, "path": KNOWN_TEXT},
                    "world_mm": _array(KNOWN_NUMBER),
                }
            ),
            "archived": FLAG,
        }
    ),
    "Records": _object({"count": WHOLE, "records": _array(RECORD)}),
}
"""By the names in `endpoints.ENDPOINTS`."""
