"""Searches: from JSON to the archive and back."""

import asyncio
import dataclasses
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from inres.archive import Archive
from inres.figures import panels, style
from inres.searching import table
from inres.searching.hits import Hit, Hits, SearchOptions
from inres.system import files
from inres.vocabulary import find_property
from inres.web import bodies, pictures
from inres.web.answers import ApiError, as_json
from inres.web.bodies import bad
from inres.web.server import Server
from inres.web.work import while_connected

LONGEST_CONDITION = 10_000
"""Characters of an SQL condition."""
Find = Callable[[Archive, Mapping[str, Any]], Hits]
"""Searches the archive for one query, with options."""
Made = tuple[Find, Path | None]
"""Such a search, and the scan or image of its query."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """A search that a client asked for."""

    kind: str
    """`scan`, `item`, `image` or `code`."""
    find: Find
    options: Mapping[str, Any]
    path: Path | None
    """The scan or the image."""


@dataclasses.dataclass(frozen=True)
class Found:
    """Its result."""

    kind: str
    hits: Hits
    options: SearchOptions
    path: Path | None
    took_ms: float


async def search(server: Server, request: Request) -> Response:
    """Answer `POST /api/search`."""
    found = await _found(server, request)
    answer = await server.drawing.run(lambda: as_answer(server, found), request)
    return as_json(answer)


async def export(server: Server, request: Request) -> Response:
    """Answer `POST /api/export`: the table or the figure that `experiments.search` writes."""
    kind = request.query_params.get("format", "csv")
    media = {"csv": "text/csv; charset=utf-8", "png": "image/png", "pdf": "application/pdf"}
    if kind not in media:
        raise bad(f"format must be one of {', '.join(media)}")
    found = await _found(server, request)
    content = await server.exporting.run(lambda: _exported(server.archive, found, kind), request)
    named = {"Content-Disposition": f'attachment; filename="inres-search.{kind}"'}
    return Response(content, media_type=media[kind], headers={**named, "Cache-Control": "no-store"})


def _exported(archive: Archive, found: Found, kind: str) -> bytes:
    if kind != "csv":
        figure = table.figure(found.hits, archive.class_names, archive.properties)
        return style.contents(figure, kind)
    names, more = archive.class_names, archive.columns
    rows = table.without_formulas(table.rows(found.hits, names, archive.properties, more))
    return files.csv_text(table.columns(archive.properties, more), rows).encode("utf-8", "replace")


async def _found(server: Server, request: Request) -> Found:
    body = await bodies.read_json(request, server.settings.limits)
    bodies.only(body, ("query", "options"), "the body")
    given = bodies.only(body.get("options", {}), _OPTIONS, "options")
    condition = given.get("where", "")
    if isinstance(condition, str) and len(condition) > LONGEST_CONDITION:
        raise bad(f"where must have at most {LONGEST_CONDITION} characters")
    options = server.call(lambda: server.archive.options(given))
    most = server.settings.limits.results
    if options.k > most:
        raise bad(f"k = {options.k}: must be at most {most}")
    asked = await _asked(server, request, body.get("query"), given)

    def work() -> Found:
        start = time.perf_counter()
        hits = asked.find(server.archive, asked.options)
        took_ms = 1e3 * (time.perf_counter() - start)
        return Found(asked.kind, hits, options, asked.path, took_ms)

    return await server.search(work, request)


_OPTIONS = tuple(field.name for field in dataclasses.fields(SearchOptions))


async def _asked(
    server: Server, request: Request, query: object, options: Mapping[str, Any]
) -> Asked:
    """The search for a query as the API has it.

    Raises:
      ApiError: it is not a query, or its scan or image is not there.
    """
    known = ("scan", "world_mm", "slice_index", "item", "image", "z_mm", "slice_mm")
    given = bodies.only(query, (*known, "code", "features"), "query")
    kinds = [kind for kind in ("scan", "item", "image", "code") if kind in given]
    if len(kinds) != 1:
        raise bad("query must have exactly one of scan, item, image and code")
    (kind,) = kinds
    make = {"scan": _scan, "item": _item, "image": _image, "code": _code}[kind]
    find, path = await make(server, request, given)
    return Asked(kind, find, options, path)


async def _scan(server: Server, request: Request, query: dict[str, Any]) -> Made:
    bodies.only(query, ("scan", "world_mm", "slice_index"), "a query of a scan")
    place: dict[str, Any] = {}
    if "world_mm" in query:
        world = bodies.numbers(query["world_mm"], "world_mm")
        if len(world) != 3:
            raise bad("world_mm must be x, y, z in mm (LPS)")
        place["world_mm"] = tuple(map(float, world))
    if "slice_index" in query:
        place["slice_index"] = bodies.whole(query["slice_index"], "slice_index")
    entry = server.scans[bodies.text(query["scan"], "scan")]
    reading = asyncio.ensure_future(server.scans.volume(entry))
    opened = await while_connected(reading, request)

    def find(archive: Archive, options: Mapping[str, Any]) -> Hits:
        return archive.search_scan(opened, **place, **options)

    return find, entry.source.path


async def _item(server: Server, request: Request, query: dict[str, Any]) -> Made:
    bodies.only(query, ("item",), "a query of an item")
    item = bodies.whole(query["item"], "item")
    return (lambda archive, options: archive.search_item(item, **options)), None


async def _image(server: Server, request: Request, query: dict[str, Any]) -> Made:
    bodies.only(query, ("image", "z_mm", "slice_mm"), "a query of an image")
    place: dict[str, Any] = {}
    if query.get("z_mm") is not None:
        place["z_mm"] = bodies.numbers(query["z_mm"], "z_mm")
    if query.get("slice_mm") is not None:
        place["slice_mm"] = bodies.numbers([query["slice_mm"]], "slice_mm")[0]
    id_ = bodies.text(query["image"], "image")
    try:
        path = server.uploads[id_].path
    except KeyError:
        raise ApiError(
            HTTPStatus.NOT_FOUND, "this image is not there any more", "send it again"
        ) from None
    return (lambda archive, options: archive.search_image(path, **place, **options)), path


async def _code(server: Server, request: Request, query: dict[str, Any]) -> Made:
    bodies.only(query, ("code", "features"), "a query of a code")
    code = [
        bodies.whole(word, "each part of code") for word in bodies.numbers(query["code"], "code")
    ]
    if any(word >> 32 for word in code):
        raise bad("code must be a list of whole numbers below 2^32")
    with np.errstate(over="ignore"):
        features = np.array(bodies.numbers(query.get("features"), "features"), np.float32)
    if not np.isfinite(features).all():
        raise bad("features must be numbers of single precision")
    words = np.array(code, np.uint32)
    return (lambda archive, options: archive.search_code(words, features, **options)), None


# --- answers --------------------------------------------------------------------------------------


def as_answer(server: Server, found: Found) -> dict[str, Any]:
    """What the API says of a search."""
    archive, hits, options = server.archive, found.hits, found.options
    query = hits.query
    if found.kind == "item":
        image: str | None = item_image(int(query.name.removeprefix("item")))
    else:
        image = None if found.kind == "code" else pictures.data_url(query.image)
    return {
        "query": {
            "name": query.name,
            "kind": found.kind,
            "image": image,
            "predicted": _predicted(query.predicted, archive),
            "label": as_label(query.label),
            "class": class_name(query.label, archive),
            "diameter_mm": query.diameter_mm,
            "scan": query.scan,
            "properties": query.properties,
            "known": query.known,
            "notes": server.notes(query.notes, found.path),
        },
        "pool_size": hits.pool_size,
        "pool_text": table.pool_in_words(hits, options),
        "threshold": hits.threshold,
        "own_scan_excluded": hits.own_scan_excluded,
        "summary": hits.summary,
        "took_ms": round(found.took_ms, 2),
        "options": dataclasses.asdict(options),
        "hits": [_hit(server, hit, hits) for hit in hits],
    }


def _hit(server: Server, hit: Hit, hits: Hits) -> dict[str, Any]:
    archive, record, item = server.archive, hit.record, int(hit.record["item"])
    return {
        "rank": hit.rank,
        "item": item,
        "image": item_image(item),
        "hamming": hit.hamming,
        "distance": hit.distance,
        "label": as_label(record["label"]),
        "class": class_name(record["label"], archive),
        "scan": record["scan"],
        "nodule": record["nodule"],
        "diameter_mm": record["diameter_mm"],
        "record": record,
        "properties": hit.properties,
        "differences": hit.differences,
        "respects": [
            {
                "name": one.name,
                "title": find_property(one.name).title,
                "query": one.query,
                "item": one.item,
                "difference_sd": one.difference_sd,
                "verdict": one.verdict,
            }
            for one in hit.respects(hits.query, archive.properties)
        ],
    }


def as_label(label: Any) -> int | None:
    """A class as the API has it; None where it is unknown."""
    return int(label) if label is not None and label >= 0 else None


def class_name(label: Any, archive: Archive) -> str | None:
    """The name of a class; None where it is unknown."""
    known = as_label(label)
    return None if known is None else panels.class_title(known, archive.class_names)


def _predicted(label: int, archive: Archive) -> dict[str, Any] | None:
    return None if label < 0 else {"label": label, "name": class_name(label, archive)}


def item_image(item: int) -> str:
    """The address of an item's image."""
    return f"/api/items/{item}/image.png"
