"""XML of readings, as text."""

RATINGS = {
    "subtlety": 5,
    "internalStructure": 1,
    "calcification": 6,
    "sphericity": 4,
    "margin": 3,
    "lobulation": 2,
    "spiculation": 1,
    "texture": 5,
    "malignancy": 4,
}
SQUARE = [(c, r) for c in range(10, 15) for r in range(20, 25) if c in (10, 14) or r in (20, 24)]
"""The outline of 3 x 3 pixels, as a set."""


def ring(left, top, right, bottom):
    """The pixels around a rectangle in order, closed; it encloses what lies strictly between."""
    points = [(c, top) for c in range(left, right)]
    points += [(right, r) for r in range(top, bottom)]
    points += [(c, bottom) for c in range(right, left, -1)]
    points += [(left, r) for r in range(bottom, top, -1)]
    return [*points, points[0]]


def point(column, row, tag="edgeMap"):
    return f"<{tag}><xCoord>{column}</xCoord><yCoord>{row}</yCoord></{tag}>"


def roi(z, points, inclusion="TRUE"):
    edges = "".join(point(*place) for place in points)
    return (
        f"<roi><imageZposition>{z}</imageZposition><imageSOP_UID>1.2</imageSOP_UID>"
        f"<inclusion>{inclusion}</inclusion>{edges}</roi>"
    )


def nodule(*rois, name="n", ratings=None):
    given = RATINGS if ratings is None else ratings
    inner = "".join(f"<{tag}>{value}</{tag}>" for tag, value in given.items())
    return (
        f"<unblindedReadNodule><noduleID>{name}</noduleID>"
        f"<characteristics>{inner}</characteristics>{''.join(rois)}</unblindedReadNodule>"
    )


def small(z, column, row):
    rois = roi(z, [(column, row)])
    return f"<unblindedReadNodule><noduleID>s</noduleID>{rois}</unblindedReadNodule>"


def other(z, column, row):
    return (
        f"<nonNodule><nonNoduleID>x</nonNoduleID><imageZposition>{z}</imageZposition>"
        f"{point(column, row, 'locus')}</nonNodule>"
    )


def document(*sessions, uid="1.2.3", root="LidcReadMessage"):
    """A file with one text of marks for each reader."""
    inner = "".join(f"<readingSession>{marks}</readingSession>" for marks in sessions)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} uid="9" xmlns="http://www.nih.gov">'
        f"<ResponseHeader><Version>1.8</Version><SeriesInstanceUid>{uid}</SeriesInstanceUid>"
        f"</ResponseHeader>{inner}</{root}>\n"
    )
