"""Answers: JSON without NaN, and errors as one message each."""

import json
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import numpy as np
from starlette.responses import Response


class ApiError(Exception):
    """A request that cannot be answered; it becomes an answer with this status and message."""

    def __init__(self, status: HTTPStatus | int, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.fix = int(status), message, fix

    def answer(self) -> Response:
        """The answer to the request."""
        error = {"message": self.message, **({"fix": self.fix} if self.fix else {})}
        return as_json({"error": error}, self.status)


def as_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON. Numbers that are not finite become null."""
    text = json.dumps(plain(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return Response(
        # A half of a surrogate pair, as of a file name that is not UTF-8, becomes a ?.
        text.encode("utf-8", "replace"),
        status,
        media_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def plain(value: Any) -> Any:
    """A value as JSON has it: NumPy becomes Python, and what is not finite None."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value
