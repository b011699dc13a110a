"""The OpenAPI document of the API, made from its table of endpoints."""

import re
from typing import Any

import inres
from inres.web.endpoints import ENDPOINTS, Endpoint, Parameter
from inres.web.schemas import SCHEMAS
from inres.web.uploads import FIELD

PATH = "/api/openapi.json"


def document() -> dict[str, Any]:
    """The document, OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "inres",
            "version": inres.__version__,
            "description": "Search an archive of lung CT for the most similar cases. For research; "
            "not a medical device.",
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    name = re.sub(r"\W+", "_", endpoint.path.removeprefix("/api/")).strip("_")
    operation: dict[str, Any] = {
        "operationId": f"{endpoint.method.lower()}_{name}",
        "summary": endpoint.about,
        "responses": {
            str(endpoint.status): _answer(endpoint),
            "default": {"description": "An error.", "content": _json("Error")},
        },
    }
    if endpoint.parameters:
        operation["parameters"] = [_parameter(one, endpoint) for one in endpoint.parameters]
    if endpoint.body:
        operation["requestBody"] = {"required": True, "content": _body(endpoint.body)}
    return operation


def _answer(endpoint: Endpoint) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": endpoint.about}
    if "/" in endpoint.answer:
        answer["content"] = {media: {} for media in endpoint.answer.split()}
    elif endpoint.answer:
        answer["content"] = _json(endpoint.answer)
    return answer


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _body(name: str) -> dict[str, Any]:
    if name != "multipart":
        return _json(name)
    files = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}
    schema = {"type": "object", "properties": {FIELD: files}, "required": [FIELD]}
    return {"multipart/form-data": {"schema": schema}}


def _parameter(one: Parameter, endpoint: Endpoint) -> dict[str, Any]:
    inside = f"{{{one.name}}}" in endpoint.path
    schema: dict[str, Any] = {"type": one.type}
    if one.default is not None:
        schema["default"] = one.default
    if one.choices:
        schema["enum"] = list(one.choices)
    return {
        "name": one.name,
        "in": "path" if inside else "query",
        "description": one.about,
        "required": inside or one.default is None,
        "schema": schema,
    }
