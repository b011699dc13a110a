"""Opened scans: read in the background, a few of them in memory, told by their ids."""

import asyncio
import contextlib
import dataclasses
import gc
import hashlib
import secrets
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np

from inres.archive import Archive
from inres.ct import dicom
from inres.ct.hu import WINDOWS_HU
from inres.ct.parts import Stamp
from inres.ct.scan import Volume
from inres.data.queries import QueryScan
from inres.system import memory
from inres.system.progress import Step
from inres.web import failures, roots
from inres.web.answers import ApiError
from inres.web.settings import Limits
from inres.web.work import Pool

READING, READY, FAILED = "reading", "ready", "failed"
_MOST_SERIES = 100
_LONGEST_WAIT_S, _PAUSE_S, _COLLECTION_S = 60.0, 0.05, 5.0
"""For the memory of scans that others use: how long to wait, to look again, and to collect garbage,
which takes 0.1 s in which no other thread runs."""
Key = tuple[Path, str, str]
"""A scan, which series of it, and a digest of the state of its files."""


class Abandoned(Exception):
    """Reading a scan ended because nobody waits for it."""


class Busy(ApiError):
    """A scan cannot be read now, because requests use others; it is no fault of the scan."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a client's scan is."""

    path: Path
    """The file or folder."""
    inside: Path
    """The resolved folder that all of its files must lie in."""
    name: str
    """What it is called."""
    root: str = ""
    """The folder of --scans that it lies in, and where; both are empty for uploads."""
    below: str = ""
    upload: str = ""
    """The id of the upload; empty for others."""
    series_uid: str = ""


@dataclasses.dataclass
class Entry:
    """A scan that a client has opened."""

    id: str
    source: Source
    key: Key
    used: float
    """When a client last asked for it, by the monotonic clock."""
    waiting: int = 0
    """Requests that wait for it to be read."""
    about: dict[str, Any] | None = None
    """What the API says of it, once it was read."""
    error: str = ""
    series: list[dict[str, str]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class _Reading:
    """A scan that is being read."""

    future: "asyncio.Future[QueryScan]"
    end: threading.Event
    """Set to abandon it."""
    what: str = "waiting for other scans"
    done: float | None = None
    series: list[dict[str, str]] = dataclasses.field(default_factory=list)


class OpenedScans:
    """The scans of a server's clients; used from the event loop alone."""

    def __init__(
        self,
        archive: Archive,
        pool: Pool,
        limits: Limits,
        hide: Callable[[str], str],
        notes: Callable[[Sequence[str], Path], list[str]],
    ) -> None:
        """Begin without scans.

        Args:
          archive, pool, limits: of the server.
          hide, notes: make messages for clients (`Server`).
        """
        self._archive, self._pool, self._limits = archive, pool, limits
        self._hide, self._notes = hide, notes
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._volumes: OrderedDict[Key, QueryScan] = OrderedDict()
        self._readings: dict[Key, _Reading] = {}
        self._alive: list[weakref.ref[QueryScan]] = []
        """Every scan in memory, also those that have left `_volumes` and that requests still use;
        for the threads that read, by `_counting`."""
        self._counting = threading.Lock()
        self._ended = False

    # --- what clients ask for ---------------------------------------------------------------------

    def open(self, source: Source, stamp: Stamp, id_: str = "") -> Entry:
        """Open a scan, which is read in the background.

        A scan that another client has opened is not read again, unless its files have changed.

        Args:
          source: the scan.
          stamp: that of its files (`inres.ct.parts.stamp`).
          id_: its id; empty: a new one, which cannot be guessed.

        Raises:
          ApiError: too many scans wait to be read.
        """
        digest = hashlib.sha256(repr(stamp).encode("utf-8", "surrogateescape")).hexdigest()
        key = (source.path, source.series_uid, digest)
        entry = Entry(id_ or secrets.token_urlsafe(12), source, key, time.monotonic())
        if key in self._volumes:
            self._volumes.move_to_end(key)
            entry.about = self._about(self._volumes[key])
        else:
            self._read_soon(entry)
        self._entries[entry.id] = entry
        while len(self._entries) > self._limits.scans:
            self.close(next(iter(self._entries)))
        return entry

    def __getitem__(self, id_: str) -> Entry:
        """The scan of that id, which counts as used.

        Raises:
          ApiError: there is none.
        """
        try:
            entry = self._entries[id_]
        except KeyError:
            raise _closed() from None
        entry.used = time.monotonic()
        self._entries.move_to_end(id_)
        return entry

    def __contains__(self, id_: str) -> bool:
        return id_ in self._entries

    def last_used(self, upload: str) -> float:
        """When a scan of an upload was last used, by the monotonic clock; 0 if none is open."""
        used = [one.used for one in self._entries.values() if one.source.upload == upload]
        return max(used, default=0.0)

    def close_upload(self, upload: str) -> None:
        """Close the scans of an upload."""
        for entry in list(self._entries.values()):
            if entry.source.upload == upload:
                self.close(entry.id)

    def close(self, id_: str) -> None:
        """Forget a scan; if it is being read for nobody else, that ends."""
        entry = self._entries.pop(id_, None)
        if entry is None or any(one.key == entry.key for one in self._entries.values()):
            return
        self._volumes.pop(entry.key, None)
        if entry.key in self._readings:
            self._readings[entry.key].end.set()

    def state(self, entry: Entry) -> dict[str, Any]:
        """What the API says of a scan."""
        if entry.about is None and not entry.error:
            self._read_soon(entry)  # unless that is going on; it may have been abandoned
        reading = self._readings.get(entry.key)
        source = entry.source
        place = {"root": source.root, "path": source.below} if source.root else None
        base = {
            "id": entry.id,
            "name": source.name,
            "state": READY,
            "progress": 1.0,
            "message": "",
            "error": None,
            "source": place,
            "series_uid": source.series_uid,
            "series": entry.series,
            "windows": {name: list(window) for name, window in WINDOWS_HU.items()},
        }
        if entry.error:
            return base | {
                "state": FAILED, "progress": None, "error": {"message": entry.error},
            }  # fmt: skip
        if entry.about is None and reading is not None:
            return base | {"state": READING, "progress": reading.done, "message": reading.what}
        return base | (entry.about or {})

    async def volume(self, entry: Entry) -> QueryScan:
        """A scan with its voxels, as soon as it is read.

        Raises:
          ApiError: it cannot be read, or not now.
        """
        entry.waiting += 1
        try:
            while True:
                if entry.id not in self._entries or self._ended:
                    raise _closed()
                if entry.error:
                    raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, entry.error)
                if entry.key in self._volumes:
                    self._volumes.move_to_end(entry.key)
                    return self._volumes[entry.key]
                with contextlib.suppress(Abandoned):
                    return await asyncio.shield(self._read_soon(entry).future)
        finally:
            entry.waiting -= 1

    def abandon_unwanted(self) -> None:
        """End reading what nobody asks about, and forget what nobody used for long."""
        now = time.monotonic()
        for entry in list(self._entries.values()):
            if not entry.waiting and now - entry.used > self._limits.idle_s:
                self.close(entry.id)
        wanted = {one.key for one in self._entries.values() if self._is_wanted(one, now)}
        for key, reading in self._readings.items():
            if key not in wanted:
                reading.end.set()

    def _is_wanted(self, entry: Entry, now: float) -> bool:
        return entry.waiting > 0 or now - entry.used < self._limits.interest_s

    def end(self) -> None:
        """Abandon everything, at the end of the server."""
        self._ended = True
        for reading in self._readings.values():
            reading.end.set()

    # --- reading ----------------------------------------------------------------------------------

    def _read_soon(self, entry: Entry) -> _Reading:
        """Have a scan read, unless it is being read already."""
        known = self._readings.get(entry.key)
        if known is not None and not known.end.is_set():
            return known
        reading = _Reading(asyncio.get_running_loop().create_future(), threading.Event())
        work = asyncio.wrap_future(self._pool.submit(lambda: self._read(entry.source, reading)))
        self._readings[entry.key] = reading
        work.add_done_callback(lambda done: self._finish(entry.key, reading, done))
        return reading

    def _read(self, source: Source, reading: _Reading) -> QueryScan:
        """Read a scan, in a thread."""

        def step(what: str, done: float | None) -> None:
            if reading.end.is_set():
                raise Abandoned
            reading.what, reading.done = what, done

        step("looking for the scan", None)
        with memory.at_most(self._limits.unpacked_bytes):
            roots.require_inside(source.path, source.inside)
            reading.series = _series_of(source.path)
            self._wait_for_memory(step)
            opened = self._archive.open_scan(source.path, series_uid=source.series_uid, step=step)
            roots.require_inside(source.path, source.inside)  # links may have changed meanwhile
        with self._counting:
            self._alive.append(weakref.ref(opened))
        return opened

    def _wait_for_memory(self, step: Step) -> None:
        """Wait until requests do not use more scans than are kept in memory.

        Raises:
          Busy: they use them for too long.
        """
        collection = time.monotonic()
        end = collection + _LONGEST_WAIT_S
        while True:
            with self._counting:
                self._alive = [one for one in self._alive if one() is not None]
                count = len(self._alive)
            if count <= self._limits.open_scans:
                return
            step("waiting for requests on other scans", None)
            now = time.monotonic()
            if now > end:
                raise Busy(HTTPStatus.SERVICE_UNAVAILABLE, "the server is busy; try again")
            if now >= collection:
                gc.collect()
                collection = now + _COLLECTION_S
            time.sleep(_PAUSE_S)

    def _finish(self, key: Key, reading: _Reading, done: "asyncio.Future[QueryScan]") -> None:
        """Keep a scan that was read, or its error."""
        if self._readings.get(key) is reading:
            del self._readings[key]
        entries = [entry for entry in self._entries.values() if entry.key == key]
        for entry in entries:
            entry.series = reading.series
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        if error is None:
            self._keep(key, done.result(), entries)
            reading.future.set_result(done.result())
            return
        if not isinstance(error, Abandoned | Busy | asyncio.CancelledError):
            for entry in entries:
                entry.error = self._hide(_explained(error))
        reading.future.set_exception(error if isinstance(error, Busy) else Abandoned())
        reading.future.exception()  # nobody may be waiting

    def _keep(self, key: Key, opened: QueryScan, entries: list[Entry]) -> None:
        if not entries:
            return
        self._volumes[key] = opened
        for entry in entries:
            entry.about = self._about(opened)
        while len(self._volumes) > self._limits.open_scans:
            self._volumes.popitem(last=False)

    def _about(self, opened: QueryScan) -> dict[str, Any]:
        """What the API says of a scan that was read."""
        return _geometry(opened.volume) | {
            "lungs": opened.cut.lung_count,
            "notes": self._notes(opened.messages, opened.header.path),
            "series_uid": opened.header.series_uid,
        }


def _closed() -> ApiError:
    return ApiError(HTTPStatus.NOT_FOUND, "this scan is not open any more", "open it again")


def _explained(error: BaseException) -> str:
    """An error of a scan that could not be read, as a message for its user."""
    if isinstance(error, ApiError):
        return error.message
    if isinstance(error, MemoryError):
        return "not enough memory on the server for this scan"
    if isinstance(error, ValueError | OSError | RuntimeError):
        return str(error) or repr(error)
    failures.log(error)
    return "the server could not read this scan, by an error of its own"


def _geometry(volume: Volume) -> dict[str, Any]:
    """Shape and position of a scan, slices first."""
    to_index = np.diag([*volume.spacing_mm, 1.0])[:, [2, 1, 0, 3]]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = volume.direction, volume.origin_mm
    return {
        "shape": list(volume.hu.shape),
        "spacing_mm": list(volume.spacing_mm[::-1]),
        "index_to_world": (matrix @ to_index).tolist(),
    }


def _series_of(path: Path) -> list[dict[str, str]]:
    """The CT series of a DICOM folder, where it holds several."""
    found = dicom.candidates(path) if path.is_dir() else []
    named = [{"uid": series.uid, "text": series.described()} for series in found]
    return named[:_MOST_SERIES] if len(named) > 1 else []
