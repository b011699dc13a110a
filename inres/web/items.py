"""Items and records of the archive."""

from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from inres.data.origins import Origin
from inres.web import bodies, pictures, roots
from inres.web.answers import ApiError, as_json
from inres.web.bodies import bad
from inres.web.searching import LONGEST_CONDITION, as_label, class_name, item_image
from inres.web.server import Server

_POSITION = ("x_mm", "y_mm", "z_mm")


async def item(server: Server, request: Request) -> Response:
    """Answer `GET /api/items/{n}`."""
    number = path_number(request, "n", "item")
    return as_json(await server.search(lambda: _about(server, number), request))


def _about(server: Server, number: int) -> dict[str, Any]:
    archive = server.archive
    _require_item(server, number)
    record, slices = archive.record(number), archive.slices(number)
    position = [record.get(name) for name in _POSITION]
    return {
        "item": number,
        "record": record,
        "label": as_label(record["label"]),
        "class": class_name(record["label"], archive),
        "image": item_image(number),
        "slices": {
            "count": len(slices.planes),
            "own": slices.own,
            "z_mm": slices.z_mm,
            "side_px": slices.planes.shape[-1],
            "pixel_mm": slices.pixel_mm,
            "point": slices.point,
            "seen_px": slices.seen_px,
            "window_hu": slices.window_hu,
            "images": [f"/api/items/{number}/slices/{k}.png" for k in range(len(slices.planes))],
        },
        "origin": _origin(server, archive.origin(number)) | {"world_mm": position},
        "archived": archive.is_archived(number),
    }


def _origin(server: Server, origin: Origin) -> dict[str, Any]:
    """Where a client can open the scan of an item."""
    place = None
    if origin.path is not None and origin.path.exists():
        place = roots.shown(server.settings.roots, origin.path)
    known = {"scan": origin.scan, "series_uid": origin.series_uid}
    if place is None:
        return known | {"available": False, "root": None, "path": None}
    return known | {"available": True, "root": place[0], "path": place[1]}


async def image(server: Server, request: Request) -> Response:
    """Answer `GET /api/items/{n}/image.png`."""
    number = path_number(request, "n", "item")

    def draw() -> bytes:
        _require_item(server, number)
        return pictures.png(server.archive.image(number))

    return pictures.answer(await server.drawing.run(lambda: server.call(draw), request))


async def slice_(server: Server, request: Request) -> Response:
    """Answer `GET /api/items/{n}/slices/{k}.png`."""
    number = path_number(request, "n", "item")
    k = path_number(request, "k", "slice")

    def draw() -> bytes:
        _require_item(server, number)
        planes = server.archive.slices(number).planes
        if k >= len(planes):
            raise ApiError(HTTPStatus.NOT_FOUND, f"item {number} has {len(planes)} slices")
        return pictures.png(planes[k])

    return pictures.answer(await server.drawing.run(lambda: server.call(draw), request))


async def find(server: Server, request: Request) -> Response:
    """Answer `GET /api/records`."""
    given = request.query_params
    most = server.settings.limits.results
    limit = bodies.whole(given.get("limit", "50"), "limit", 1)
    offset = bodies.whole(given.get("offset", "0"), "offset")
    where, sort = given.get("where", ""), given.get("sort", "item")
    if limit > most:
        raise bad(f"limit = {limit}: must be at most {most}")
    if len(where) > LONGEST_CONDITION:
        raise bad(f"where must have at most {LONGEST_CONDITION} characters")
    count, records = await server.search(
        lambda: server.archive.find(where, sort=sort, offset=offset, limit=limit), request
    )
    return as_json({"count": count, "records": records})


def _require_item(server: Server, number: int) -> None:
    """Raise an ApiError unless there is an item of that number."""
    if number >= server.archive.item_count:
        raise ApiError(
            HTTPStatus.NOT_FOUND,
            f"no item {number}; items are 0 to {server.archive.item_count - 1}",
        )


def path_number(request: Request, name: str, what: str) -> int:
    """A number in the path of a request.

    Raises:
      ApiError: it is none.
    """
    text = request.path_params[name]
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise ApiError(HTTPStatus.NOT_FOUND, f"no {what} {text[:100]!r}")
    return int(text)
