"""What a server is and what its archive holds."""

import dataclasses
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

import inres
from inres.figures import panels
from inres.vocabulary import find_property
from inres.web.answers import as_json
from inres.web.server import Server

NOT_A_MEDICAL_DEVICE = (
    "For research. Not a medical device: not for diagnosis, treatment or any decision on patients."
)


async def health(server: Server, request: Request) -> Response:
    """Answer `GET /api/health`."""
    count = server.archive.item_count
    return as_json({"status": server.state, "version": inres.__version__, "items": count})


async def archive(server: Server, request: Request) -> Response:
    """Answer `GET /api/archive`."""
    return as_json(await server.search(lambda: _about(server), request))


def _about(server: Server) -> dict[str, Any]:
    opened, limits = server.archive, server.settings.limits
    config, names = opened.config, opened.class_names
    return {
        "name": server.name,
        "form": "images" if server.ready_made else "scans",
        "items": opened.item_count,
        "archived": len(opened),
        "bits": opened.bits,
        "network": config.model.name,
        "classes": [
            {"label": label, "name": panels.class_title(label, names)}
            for label in range(len(names))
        ],
        "properties": [_property(name) for name in opened.properties],
        "columns": [{"name": name, "kind": kind} for name, kind in opened.records.columns.items()],
        "options": dataclasses.asdict(opened.options({})),
        "limits": {
            "upload_bytes": limits.upload_bytes,
            "upload_files": limits.upload_files,
            "unpacked_bytes": limits.unpacked_bytes,
            "results": limits.results,
        },
        "roots": [{"name": name} for name in server.settings.roots],
        "item_side_px": opened.item_side_px,
        "not_a_medical_device": NOT_A_MEDICAL_DEVICE,
    }


def _property(name: str) -> dict[str, Any]:
    known = find_property(name)
    return {
        "name": name,
        "title": known.title,
        "unit": known.unit,
        "ends": known.ends,
        "low": known.low,
        "high": known.high,
        "digits": known.digits,
    }
