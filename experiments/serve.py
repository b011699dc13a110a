"""Serve a page and an API for searching a finished run, on this machine and offline.

    python -m experiments.serve --archive=runs/phantom --port=8080
    python -m experiments.serve --archive=runs/phantom --scans=scans --scans=more_scans

Then open http://127.0.0.1:8080. --archive is a workdir with a finished run, or a folder written by
`experiments.export`. Scans can be uploaded, and opened from the folders given with --scans; no
other file is read for a client.

Only this machine can connect. With another --host, clients need a token, which is printed, or set
by --token or the environment variable INRES_TOKEN; connections are not encrypted. API, security and
limits are described in inres/web/README.md. Ctrl-C ends the server; uploads are then removed.

Standard error has one line for each request, without anything that may name a patient. Messages of
other libraries may name files and patients, so they are shown with --debug alone.
"""

import contextlib
import importlib.util
import logging
import os
import socket
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from absl import flags

from experiments import common
from inres.archive import Archive
from inres.web.settings import LOCAL, Settings, checked_token, is_local, named_roots

ARCHIVE = flags.DEFINE_string("archive", None, "A workdir with a finished run, or an exported run.")
PORT = flags.DEFINE_integer("port", 8080, "Port to listen on; 0: any free one.", 0, 65535)
HOST = flags.DEFINE_string("host", LOCAL, "Address to listen on.")
SCANS = flags.DEFINE_multi_string("scans", [], "A folder with scans that clients may open.")
TOKEN = flags.DEFINE_string("token", None, "What clients must know; default: INRES_TOKEN.")
NAMES = flags.DEFINE_multi_string("name", [], "A further name by which clients address the server.")


def serve(arguments: list[str]) -> None:
    """Open the archive and serve it until Ctrl-C."""
    common.refuse_arguments(arguments)
    for package in ("python_multipart", "starlette", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"{package} is not installed; run pip install -e '.[serve]'")
    given = TOKEN.value if TOKEN.value is not None else os.environ.get("INRES_TOKEN", "")
    token, roots = checked_token(HOST.value, given), named_roots(SCANS.value)
    listening = _listen(HOST.value, PORT.value)
    port = listening.getsockname()[1]
    root = Path(str(ARCHIVE.value)).expanduser().resolve()
    settings = Settings(
        host=HOST.value, port=port, token=token, roots=roots, names=tuple(NAMES.value)
    )
    archive = Archive.open(root)
    _serve(archive, settings, root.name, listening)


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
      OSError: the address is not of this machine, or the port is in use; names both.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(512)
    except OSError as error:
        raise OSError(
            f"{host}, port {port}: {error.strerror}; choose another --host or --port"
        ) from None
    return listening


def _serve(archive: Archive, settings: Settings, name: str, listening: socket.socket) -> None:
    import uvicorn

    from inres.web.app import make_app
    from inres.web.connections import IDLE_S, MOST, Impatient

    name_of_all = settings.host in ("0.0.0.0", "::")
    shown = socket.gethostname() if name_of_all else settings.host
    shown = f"[{shown}]" if ":" in shown else shown
    ask = f"/?token={settings.token}" if settings.token else ""
    print(f"open http://{shown}:{settings.port}{ask}", flush=True)
    if not is_local(settings.host):
        print("connections are not encrypted: others on this network may read them", flush=True)
    config = uvicorn.Config(
        make_app(archive, settings, name=name),
        access_log=False,
        log_config=None,
        log_level="critical",  # tracebacks may name patients; `inres.web` logs errors
        server_header=False,
        proxy_headers=False,
        http=Impatient,
        ws="none",
        lifespan="on",
        limit_concurrency=MOST,
        timeout_keep_alive=int(IDLE_S),
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=1 << 16,
    )
    server = uvicorn.Server(config)
    with _log_alone(), contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
    if not server.started:
        folder = tempfile.gettempdir()
        raise OSError(f"{folder}: no folder for uploads can be made there; set TMPDIR to another")
    sys.stdout.flush()
    os._exit(0)  # a scan that is still being read would delay the end, and nothing is left to do


@contextlib.contextmanager
def _log_alone() -> Iterator[None]:
    """Within this context, standard error has the log of requests, and nothing else.

    Native libraries write there too, and name files.
    """
    own = os.dup(2)
    handler = logging.StreamHandler(os.fdopen(own, "w", errors="backslashreplace"))
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("inres.web")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    if common.DEBUG.value:
        yield
        return
    warnings.simplefilter("ignore")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(own, 2)


if __name__ == "__main__":
    common.launch_with_arguments(serve, required=("archive",), optional=("config",))
