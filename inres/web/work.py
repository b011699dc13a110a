"""Blocking work in a bounded number of threads, dropped if its client has gone."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from inres.web.answers import ApiError

T = TypeVar("T")
Proceed = Callable[[], None]
"""Work calls it again and again; it raises an exception once nobody waits for its result."""


class Pool:
    """Threads for one kind of work."""

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self._threads = concurrent.futures.ThreadPoolExecutor(threads, f"inres-{name}")
        self._places = threading.BoundedSemaphore(threads + waiting)

    def submit(self, work: Callable[[], T]) -> "concurrent.futures.Future[T]":
        """Start work, or have it wait for a thread.

        Raises:
          ApiError: too much work is waiting.
        """
        if not self._places.acquire(blocking=False):
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "the server is busy; try again")
        future = self._threads.submit(work)
        future.add_done_callback(lambda _: self._places.release())
        return future

    async def run(self, work: Callable[[], T], request: Request | None = None) -> T:
        """The result of work; it is dropped if the client of `request` goes before it has begun.

        Raises:
          ClientDisconnect: the client has gone.
          ApiError: too much work is waiting.
        """
        future = self.submit(work)
        try:
            return await while_connected(asyncio.wrap_future(future), request)
        finally:
            future.cancel()  # at once: an asyncio future passes it on only later

    async def run_to_its_end(self, work: Callable[[Proceed], T], request: Request) -> T:
        """As `run`, of work that writes: when this returns, or raises, it is over.

        It is ended if the client of `request` goes.
        """
        end = threading.Event()

        def proceed() -> None:
            if end.is_set():
                raise ClientDisconnect

        future = self.submit(lambda: work(proceed))
        try:
            return await while_connected(asyncio.wrap_future(future), request)
        finally:
            end.set()
            if not (future.done() or future.cancel()):
                await asyncio.gather(asyncio.wrap_future(future), return_exceptions=True)

    def close(self) -> None:
        """Drop the work that has not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)


async def while_connected(future: "asyncio.Future[T]", request: Request | None) -> T:
    """The result of a future, which is cancelled when the client of `request` has gone.

    Raises:
      ClientDisconnect: the client has gone.
    """
    if request is None:
        return await future
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        both: set[asyncio.Future] = {future, gone}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            raise ClientDisconnect
        return future.result()
    finally:
        future.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    """Wait until the client has gone; the body of the request must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
