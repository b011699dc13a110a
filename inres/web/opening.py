"""Files below --scans, uploads and opened scans."""

import asyncio
import dataclasses
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from inres.ct import parts
from inres.ct.hu import WINDOWS_HU
from inres.web import bodies, pictures, roots
from inres.web.answers import ApiError, as_json
from inres.web.bodies import bad
from inres.web.items import path_number
from inres.web.scans import Entry, Source
from inres.web.server import Server
from inres.web.work import while_connected


async def files(server: Server, request: Request) -> Response:
    """Answer `GET /api/files`."""
    given = request.query_params
    root, path = given.get("root", ""), given.get("path", "")

    def listed() -> Response:
        folder = roots.resolve(server.settings.roots, root, path)
        if not folder.is_dir():
            raise ApiError(HTTPStatus.NOT_FOUND, f"no folder of that name in {root}")
        found = roots.entries(server.settings.roots, root, folder)
        return as_json({"root": root, "path": path, "entries": found})

    return await server.storing.run(lambda: server.call(listed), request)


async def open_(server: Server, request: Request) -> Response:
    """Answer `POST /api/scans`: a scan below --scans, or another series of an opened one."""
    body = await bodies.read_json(request, server.settings.limits)
    bodies.only(body, ("root", "path", "scan", "series_uid"), "the body")
    series = bodies.text(body.get("series_uid", ""), "series_uid")
    _require_scans(server)
    if "scan" in body:
        opened = server.scans[bodies.text(body["scan"], "scan")].source
        source = dataclasses.replace(opened, series_uid=series)
    else:
        source = await _located(server, request, body, series)
    entry = await _open(server, request, source)
    return as_json({"id": entry.id}, HTTPStatus.ACCEPTED)


async def _located(server: Server, request: Request, body: dict[str, Any], series: str) -> Source:
    """The scan below --scans that a client names."""
    known, root, below = server.settings.roots, body.get("root"), body.get("path")
    path = await server.storing.run(lambda: roots.resolve_scan(known, root, below), request)
    return Source(
        path, known[str(root)], path.name, root=str(root), below=str(below), series_uid=series
    )


async def _open(server: Server, request: Request, source: Source, id_: str = "") -> Entry:
    def look() -> parts.Stamp:
        roots.require_one_scan(source.path)
        return parts.stamp(source.path)

    stamp = await server.storing.run(look, request)
    return server.scans.open(source, stamp, id_)


def _require_scans(server: Server) -> None:
    if server.ready_made:
        raise bad(
            "this archive holds images of a folder, not scans", "search for an image like them"
        )


async def upload(server: Server, request: Request) -> Response:
    """Answer `POST /api/uploads`."""
    sent = await server.uploads.receive(request)
    if sent.kind == "scan":
        name = sent.path.name if sent.path.is_file() else "upload"
        source = Source(sent.path, sent.folder.resolve(), name, upload=sent.id)
        try:
            await _open(server, request, source, sent.id)
        except BaseException:
            server.uploads.remove(sent.id)  # the client does not know its id
            raise
    return as_json({"id": sent.id, "kind": sent.kind}, HTTPStatus.ACCEPTED)


async def state(server: Server, request: Request) -> Response:
    """Answer `GET /api/scans/{id}`."""
    entry = server.scans[request.path_params["id"]]
    return as_json(server.scans.state(entry))


async def slice_(server: Server, request: Request) -> Response:
    """Answer `GET /api/scans/{id}/slices/{k}.png`."""
    entry = server.scans[request.path_params["id"]]
    window = request.query_params.get("window", "lung")
    if window not in WINDOWS_HU:
        raise bad(f"window must be one of {', '.join(WINDOWS_HU)}")
    k = path_number(request, "k", "slice")
    reading = asyncio.ensure_future(server.scans.volume(entry))
    hu = (await while_connected(reading, request)).volume.hu
    if k >= len(hu):
        raise ApiError(HTTPStatus.NOT_FOUND, f"no slice {k}; the scan has 0 to {len(hu) - 1}")
    return pictures.answer(
        await server.drawing.run(lambda: pictures.png(pictures.windowed(hu[k], window)), request)
    )


async def close(server: Server, request: Request) -> Response:
    """Answer `DELETE /api/scans/{id}`, also for an uploaded image."""
    id_ = request.path_params["id"]
    if id_ not in server.scans and id_ not in server.uploads:
        raise ApiError(HTTPStatus.NOT_FOUND, "this scan is not open any more")
    server.forget(id_)
    return Response(status_code=HTTPStatus.NO_CONTENT)
