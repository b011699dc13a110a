"""The server as an ASGI application."""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inres.archive import Archive
from inres.web import failures, openapi
from inres.web.answers import ApiError, as_json
from inres.web.endpoints import ENDPOINTS, Endpoint
from inres.web.failures import LOG
from inres.web.security import Guard
from inres.web.server import Server
from inres.web.settings import Settings

STATIC = Path(__file__).parent / "static"
_PATTERN = "inres.pattern"
"""Key of the route in a scope."""
_METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH")
_CLOSED = 499
"""Status in the log of a request whose client has gone."""


def make_app(
    archive: Archive, settings: Settings, *, name: str = "archive", temporary: Path | None = None
) -> ASGIApp:
    """The application that serves an archive.

    Args:
      archive: the archive.
      settings: how it is served.
      name: what it is called.
      temporary: where the folder of uploads is made (`holding.upload_folder`).
    """
    server = Server(archive, settings, name=name)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with server.running(temporary):
            yield

    async def document(request: Request) -> Response:
        return as_json(openapi.document())

    app = Starlette(
        routes=[
            *(_route(server, endpoint) for endpoint in ENDPOINTS),
            Route(openapi.PATH, _marked(openapi.PATH, document)),
            Mount("/", _Page(directory=STATIC, html=True, check_dir=False), name="page"),
        ],
        lifespan=lifespan,
        exception_handlers={HTTPException: _refused},
    )
    app.state.server = server
    return _Log(Guard(app, settings))


def _route(server: Server, endpoint: Endpoint) -> Route:
    async def answer(request: Request) -> Response:
        return await endpoint.handler(server, request)

    return Route(endpoint.path, _marked(endpoint.path, answer), methods=[endpoint.method])


Answer = Callable[[Request], Awaitable[Response]]


def _marked(path: str, answer: Answer) -> Answer:
    """An endpoint whose path is told to the log, and whose errors are answers."""

    async def answered(request: Request) -> Response:
        request.scope[_PATTERN] = path
        try:
            return await answer(request)
        except ApiError as error:
            return error.answer()
        except ClientDisconnect:
            return Response(status_code=_CLOSED)
        except Exception as error:
            failures.log(error)
            return ApiError(
                HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed, by an error of its own"
            ).answer()

    return answered


async def _refused(request: Request, error: Exception) -> Response:
    """The answer to a path or method that there is not."""
    assert isinstance(error, HTTPException)
    return ApiError(error.status_code, error.detail).answer()


class _Page(StaticFiles):
    """The files of the page, which a browser asks for again when they have changed."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


class _Log:
    """Logs each request: method, route, status and duration; never what a client sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request and log it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, start = _CLOSED, time.perf_counter()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            took = 1e3 * (time.perf_counter() - start)
            method = scope["method"] if scope["method"] in _METHODS else "(other)"
            LOG.info("%s %s %d %.0f ms", method, scope.get(_PATTERN, "(page)"), status, took)
