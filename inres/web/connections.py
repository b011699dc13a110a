"""Connections to the server that nothing is asked on."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 512
"""Connections at once; on further ones, requests are refused."""
IDLE_S = 30.0
"""Seconds after which a connection is closed on which no request has begun."""


class Impatient(H11Protocol):
    """HTTP/1.1 that closes connections on which no whole head of a request comes.

    Uvicorn itself waits for the first request, and for the rest of a head, without end.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to watch a connection."""
        super().connection_made(transport)
        self._seen: object = None  # the last request, where it was seen to be over
        self._look_later()

    def _look_later(self) -> None:
        self.loop.call_later(IDLE_S, self._look)

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.cycle is self._seen:
            self.transport.close()
            return
        # One that still runs is looked at twice after its end: the next one has time to come.
        self._seen = self.cycle if idle else self
        self._look_later()
