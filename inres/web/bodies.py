"""JSON that clients send: small, strict and checked."""

import asyncio
import json
import math
from http import HTTPStatus
from typing import Any

from starlette.requests import Request

from inres.web.answers import ApiError
from inres.web.settings import Limits


async def read_json(request: Request, limits: Limits) -> dict[str, Any]:
    """The JSON object in the body of a request.

    Raises:
      ApiError: another type, too long, too slow, or not a JSON object.
      ClientDisconnect: the client has gone.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "the body must be JSON",
            "send the header Content-Type: application/json",
        )
    body, chunks = b"", request.stream().__aiter__()
    try:
        async with asyncio.timeout(limits.silent_s):
            async for chunk in chunks:
                body += chunk
                if len(body) > limits.json_bytes:
                    raise ApiError(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                        f"the body has more than {limits.json_bytes} bytes",
                    )
    except TimeoutError:
        raise ApiError(HTTPStatus.REQUEST_TIMEOUT, "the body did not arrive") from None
    try:
        value = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise bad("the body is not valid JSON") from None
    if not isinstance(value, dict):
        raise bad("the body must be a JSON object")
    return value


def _refuse(text: str) -> None:
    raise ValueError(text)


def bad(message: str, fix: str = "") -> ApiError:
    """The error for a request that makes no sense."""
    return ApiError(HTTPStatus.BAD_REQUEST, message, fix)


def only(value: object, known: tuple[str, ...], name: str) -> dict[str, Any]:
    """An object that has no other fields than the known ones.

    Raises:
      ApiError: it has, or is no object; names it by `name`.
    """
    if not isinstance(value, dict):
        raise bad(f"{name} must be an object with some of {', '.join(known)}")
    for field in value:
        if field not in known:
            raise bad(f"{name} has no field {field[:100]!r}; the fields are {', '.join(known)}")
    return value


def text(value: object, name: str) -> str:
    """A text without control characters.

    Raises:
      ApiError: it is none.
    """
    if not isinstance(value, str) or "\0" in value:
        raise bad(f"{name} must be a text")
    return value


def numbers(value: object, name: str) -> list[float]:
    """A list of finite numbers.

    Raises:
      ApiError: it is none.
    """
    if not isinstance(value, list) or not all(map(_is_number, value)):
        raise bad(f"{name} must be a list of numbers")
    return value


def whole(value: object, name: str, least: int = 0) -> int:
    """A whole number, given as one or as text.

    Raises:
      ApiError: it is none, or is below `least`.
    """
    if isinstance(value, str) and value.isascii() and value.lstrip("-").isdigit():
        value = int(value) if len(value) < 20 else None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise bad(f"{name} must be a whole number of at least {least}")
    return value


def _is_number(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        return number and math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:
        return False
