"""What a server listens on, what it shows, and its limits."""

import dataclasses
import ipaddress
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from inres.ct.dicom import MOST_FILES

LOCAL = "127.0.0.1"
LEAST_TOKEN = 16
"""Characters of a token, at least."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one server may be asked for."""

    upload_bytes: int = 2 << 30
    """Of one upload as it is sent."""
    upload_files: int = MOST_FILES
    """Of one upload, also inside a zip archive."""
    unpacked_bytes: int = 4 << 30
    """Of one upload after unpacking a zip archive, and of the memory that reading a scan needs."""
    stored_bytes: int = 16 << 30
    """Of all uploads on disk, also of those that arrive."""
    uploads: int = 32
    """Uploads on disk; the one that was not used for longest is removed for another."""
    idle_s: float = 2 * 3600.0
    """Seconds after which an upload or opened scan that nobody used is removed."""
    silent_s: float = 30.0
    """Seconds within which the body of a request must arrive, or of an upload the next part
    (`uploads.LEAST_BYTES`)."""
    json_bytes: int = 1 << 20
    """Of the body of a request."""
    open_scans: int = 2
    """Scans in memory, about 0.3 to 1 GB each; one that is used after others is read again."""
    scans: int = 256
    """Opened scans that are known; the one that was not used for longest is forgotten."""
    interest_s: float = 120.0
    """Seconds after which reading a scan is abandoned that nobody asks about."""
    threads: int = 4
    """Searches, and pictures, that are worked on at once."""
    readers: int = 2
    """Scans that are read at once."""
    waiting: int = 256
    """Requests that may wait for a thread; further ones are refused."""
    exports: int = 16
    """Exports that may wait; figures take seconds, and are drawn one after the other."""
    results: int = 1000
    """Results of one search, and records of one page."""
    condition_s: float = 5.0
    """Seconds that an SQL condition may take for one part of the archive."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a server is reached, and what it may read."""

    host: str = LOCAL
    port: int = 8080
    token: str = ""
    """Without it nothing of the API but /api/health answers; empty: no token is needed."""
    roots: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    """Folders of scans by their name, resolved; nothing outside of them is read."""
    names: tuple[str, ...] = ()
    """Further names by which this machine is addressed."""
    warm_up: bool = True
    """Load the networks and compile their programs when the server starts."""
    limits: Limits = Limits()


def is_local(host: str) -> bool:
    """Whether only this machine reaches a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_token(host: str, token: str) -> str:
    """The token of a server on `host`: the one given, or a new one where one is needed.

    Raises:
      ValueError: it is too short.
    """
    if not token:
        return "" if is_local(host) else secrets.token_urlsafe(24)
    if len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(
            f"the token must have at least {LEAST_TOKEN} ASCII characters without spaces; leave it "
            "out to have one made"
        )
    return token


def named_roots(folders: Sequence[str | Path]) -> dict[str, Path]:
    """The folders of scans by the name that they are shown by, which is that of the folder.

    Raises:
      ValueError: one is not a folder; names it.
    """
    roots: dict[str, Path] = {}
    for folder in folders:
        path = Path(folder).expanduser().resolve()
        if not path.is_dir():
            raise ValueError(f"{folder}: no such folder; give one with scans")
        if path in roots.values():
            continue
        base = path.name or "root"
        number = 1
        name = base
        while name in roots:
            number += 1
            name = f"{base} ({number})"
        roots[name] = path
    return roots
