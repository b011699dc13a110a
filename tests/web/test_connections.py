"""Connections on which nothing is asked are closed; requests that take long are not."""

import asyncio
import contextlib
import socket
import threading
import time

import pytest
import uvicorn

from inres.web import connections

WAIT_S = 0.2
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"


async def app(scope, receive, send):
    await asyncio.sleep(3 * WAIT_S)  # longer than a connection may be idle
    head = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture(scope="module")
def port():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "IDLE_S", WAIT_S)
        config = uvicorn.Config(
            *(app,), http=connections.Impatient, log_config=None, ws="none", lifespan="off",
            timeout_keep_alive=60, limit_concurrency=8,
        )  # fmt: skip
        server, listener = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(5)


def connect(port):
    connection = socket.create_connection(("127.0.0.1", port))
    connection.settimeout(5)
    return connection


@pytest.mark.parametrize("begun", [b"", b"GET", HEAD, HEAD + b"X: " + b"x" * 10_000])
def test_a_connection_without_a_request_is_closed(port, begun):
    with connect(port) as connection:
        connection.sendall(begun)
        start = time.monotonic()
        assert connection.recv(100) == b""
        assert WAIT_S / 2 < time.monotonic() - start < 10 * WAIT_S


def test_a_request_is_answered_however_long_it_takes(port):
    with connect(port) as connection:
        for _ in range(2):
            connection.sendall(HEAD + b"\r\n")
            answer = b""
            while not answer.endswith(b"ok"):
                part = connection.recv(1000)
                assert part, "closed"
                answer += part
            assert answer.startswith(b"HTTP/1.1 200")
        connection.sendall(HEAD)  # the head of a further one does not end
        assert connection.recv(100) == b""


def test_more_connections_than_allowed_are_refused(port):
    with contextlib.ExitStack() as held:
        for _ in range(8):
            held.enter_context(connect(port))
        connection = held.enter_context(connect(port))
        connection.sendall(HEAD + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 503")


def test_heads_without_end_are_refused(port):
    with connect(port) as connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(100):
            connection.sendall(b"GET / HTTP/1.1\r\n" + b"X: " + b"x" * 10_000 + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 4")
