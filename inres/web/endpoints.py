"""The functions of the API in one table, of which routes and OpenAPI document are made."""

import dataclasses
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from inres.web import info, items, opening, searching
from inres.web.server import Server

Handler = Callable[[Server, Request], Awaitable[Response]]


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A part of the path or the query."""

    name: str
    about: str
    type: str = "string"
    default: str | int | None = None
    choices: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A function of the API."""

    method: str
    path: str
    handler: Handler
    about: str
    answer: str
    """Name of the schema of the answer (`schemas.SCHEMAS`), or its media types separated by spaces;
    empty: none."""
    status: int = 200
    body: str = ""
    """Name of the schema of the body in JSON; `multipart`: files; empty: none."""
    parameters: tuple[Parameter, ...] = ()


_ITEM = Parameter("n", "Number of the item, from 0.", "integer")
_SLICE = Parameter("k", "Number of the slice, from the lowest up, from 0.", "integer")
_SCAN = Parameter("id", "Id of the scan.")

ENDPOINTS = (
    Endpoint("GET", "/api/health", info.health, "Whether the networks are loaded.", "Health"),
    Endpoint("GET", "/api/archive", info.archive, "What the archive holds.", "Archive"),
    Endpoint(
        *("GET", "/api/files", opening.files, "Scans and folders below --scans.", "Files"),
        parameters=(
            Parameter("root", "Name of a folder of --scans."),
            Parameter("path", "A folder below it.", default=""),
        ),
    ),
    Endpoint(
        *("POST", "/api/scans", opening.open_),
        "Open a scan below --scans, or another series of an opened one, in the background.",
        "Opened",
        status=202,
        body="OpenScan",
    ),
    Endpoint(
        *("POST", "/api/uploads", opening.upload),
        "Send a scan, which is opened in the background, or an image.",
        "Uploaded",
        status=202,
        body="multipart",
    ),
    Endpoint(
        *("GET", "/api/scans/{id}", opening.state, "State and geometry of a scan.", "Scan"),
        parameters=(_SCAN,),
    ),
    Endpoint(
        *("DELETE", "/api/scans/{id}", opening.close),
        "Close a scan, or remove an image; removes what was uploaded.",
        "",
        status=204,
        parameters=(_SCAN,),
    ),
    Endpoint(
        *("GET", "/api/scans/{id}/slices/{k}.png", opening.slice_),
        "A slice: row 0 is in front, column 0 at the patient's right.",
        "image/png",
        parameters=(
            *(_SCAN, _SLICE),
            Parameter("window", "Window.", default="lung", choices=("lung", "narrow")),
        ),
    ),
    Endpoint(
        *("POST", "/api/search", searching.search, "Search for a query.", "Found"), body="Search"
    ),
    Endpoint(
        *("POST", "/api/export", searching.export, "The results of a search as a file."),
        "text/csv image/png application/pdf",
        body="Search",
        parameters=(Parameter("format", "Format.", default="csv", choices=("csv", "png", "pdf")),),
    ),
    Endpoint(*("GET", "/api/items/{n}", items.item, "An item.", "Item"), parameters=(_ITEM,)),
    Endpoint(
        *("GET", "/api/items/{n}/image.png", items.image),
        "An item as the network sees it.",
        "image/png",
        parameters=(_ITEM,),
    ),
    Endpoint(
        *("GET", "/api/items/{n}/slices/{k}.png", items.slice_),
        "A slice of an item or next to it.",
        "image/png",
        parameters=(_ITEM, _SLICE),
    ),
    Endpoint(
        *("GET", "/api/records", items.find, "Records of archived items.", "Records"),
        parameters=(
            Parameter("where", "An SQL condition on the columns; empty: all.", default=""),
            Parameter("sort", "A column, with - before it in descending order.", default="item"),
            Parameter("offset", "Records to leave out.", "integer", 0),
            Parameter("limit", "Records to return at most.", "integer", 50),
        ),
    ),
)
