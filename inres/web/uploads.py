"""Uploads: streamed to disk, kept below limits, and removed."""

import asyncio
import contextlib
import dataclasses
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import IO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from inres.ct import listing
from inres.ct.header import ScanError
from inres.system.files import FULL_DISK
from inres.web import roots, zips
from inres.web.answers import ApiError
from inres.web.names import Names, RefusedName
from inres.web.settings import Limits
from inres.web.work import Pool, Proceed

FIELD = "file"
"""Name of the parts of a form that hold files."""
LEAST_BYTES = 1 << 16
"""Bytes of an upload that must arrive within `Limits.silent_s`."""
_BUSY_S = 60.0
"""Seconds for which an upload that was used is not removed for another."""
_AHEAD = 1 << 26
"""Bytes for which room is made before they arrive."""


@dataclasses.dataclass
class Upload:
    """Files of a client."""

    id: str
    folder: Path
    """Holds nothing but them."""
    kind: str
    """`scan` or `image`."""
    path: Path
    """The file or folder to read."""
    bytes: int
    """On disk."""
    used: float
    """When it was last used, by the monotonic clock."""


class Uploads:
    """The uploads of a server, in a folder of its own; used from the event loop alone."""

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        pool: Pool,
        *,
        images_only: bool,
        last_used: Callable[[str], float],
        removed: Callable[[str], None],
    ) -> None:
        """Begin without uploads.

        Args:
          folder: an empty folder.
          limits, pool: of the server.
          images_only: whether every upload is an image.
          last_used: when the scan of that id was last used, by the monotonic clock.
          removed: is called with the id of each upload that is removed.
        """
        self._folder, self._limits, self._pool = folder, limits, pool
        self._images_only, self._last_used, self._removed = images_only, last_used, removed
        self._held: dict[str, Upload] = {}
        self._arriving: dict[str, int] = {}
        """Bytes on disk, at most, of the uploads that are not complete."""

    def __getitem__(self, id_: str) -> Upload:
        """The upload of that id, which counts as used.

        Raises:
          KeyError: there is none.
        """
        found = self._held[id_]
        found.used = time.monotonic()
        return found

    def __contains__(self, id_: str) -> bool:
        return id_ in self._held

    def remove(self, id_: str) -> None:
        """Remove an upload and its files, if it is there."""
        found = self._held.pop(id_, None)
        if found is not None:
            self._removed(id_)
            shutil.rmtree(found.folder.parent, ignore_errors=True)

    def remove_idle(self) -> None:
        """Remove the uploads that nobody used for long."""
        for one in self._by_use():
            if time.monotonic() - one.used > self._limits.idle_s:
                self.remove(one.id)

    def _by_use(self) -> list[Upload]:
        """The uploads, the one first that was not used for longest."""
        for one in self._held.values():
            one.used = max(one.used, self._last_used(one.id))
        return sorted(self._held.values(), key=lambda one: one.used)

    async def receive(self, request: Request) -> Upload:
        """Store the files of a request, unpack a zip archive, and find out what they are.

        Raises:
          ApiError: they are too many or too large, or are refused for another reason.
          ClientDisconnect: the client has gone; nothing is kept.
        """
        if len(self._arriving) >= self._limits.uploads:
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "too many uploads at once; try again")
        id_ = secrets.token_urlsafe(12)
        self._arriving[id_] = 0
        # Named by the upload, as a scan is recognised by the name of its folder.
        folder = self._folder / id_ / f"upload-{id_}"
        try:
            folder.mkdir(parents=True)
            self._make_room(id_, 0)
            await self._store(request, folder, id_)
            await self._unpack(request, folder, id_)
            kind, path = await self._pool.run_to_its_end(lambda _: self._found(folder), request)
            size = self._arriving[id_]
        except BaseException as error:
            shutil.rmtree(folder.parent, ignore_errors=True)
            if isinstance(error, OSError) and error.errno in FULL_DISK:
                raise ApiError(
                    HTTPStatus.INSUFFICIENT_STORAGE,
                    "the disk of the server is full",
                    "free some space there, or open the scan from a folder of --scans",
                ) from None
            raise
        finally:
            del self._arriving[id_]
        self._held[id_] = Upload(id_, folder, kind, path, size, time.monotonic())
        return self._held[id_]

    def _make_room(self, id_: str, needed: int) -> None:
        """Remove the uploads that were not used for longest, until one with `needed` bytes fits.

        Raises:
          ApiError: the others are in use.
        """
        self._arriving[id_] = needed
        for one in self._by_use():
            if self._has_room():
                return
            if time.monotonic() - one.used > _BUSY_S:
                self.remove(one.id)
        if not self._has_room():
            raise ApiError(
                HTTPStatus.INSUFFICIENT_STORAGE,
                "the server holds as many uploads as it may",
                "close a scan, or try again in a minute",
            )

    def _has_room(self) -> bool:
        stored = sum(one.bytes for one in self._held.values()) + sum(self._arriving.values())
        count = len(self._held) + len(self._arriving)
        return stored <= self._limits.stored_bytes and count <= self._limits.uploads

    async def _store(self, request: Request, folder: Path, id_: str) -> None:
        """Write the files of a form below a folder as they arrive."""
        kind, options = parse_options_header(request.headers.get("content-type"))
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise ApiError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                f"send the files as multipart/form-data, in parts named {FIELD}",
            )
        form = _Form(folder, self._limits)
        try:
            parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
            async for chunk in _timely(request, self._limits):
                form.count(len(chunk))
                if form.received > self._arriving[id_]:
                    self._make_room(id_, form.received + _AHEAD)
                await self._pool.run(lambda chunk=chunk: parser.write(chunk))  # type: ignore[misc]
            await self._pool.run(parser.finalize)
            form.require_complete()
        except FormParserError:
            raise ApiError(HTTPStatus.BAD_REQUEST, "the form is damaged; send it again") from None
        finally:
            form.close()
        self._arriving[id_] = form.received

    async def _unpack(self, request: Request, folder: Path, id_: str) -> None:
        """Replace a zip archive by its files.

        Raises:
          ApiError: it is refused, or there is no room for its files.
        """
        aside, limits = folder.parent / "packed.zip", self._limits
        most = {"most_files": limits.upload_files, "most_bytes": limits.unpacked_bytes}

        def set_aside(_: Proceed) -> int | None:
            with _refused():
                return zips.unpacked_bytes(aside, **most) if _set_aside(folder, aside) else None

        def unzip(proceed: Proceed) -> None:
            with _refused():
                zips.unzip(aside, folder, **most, proceed=proceed)
            aside.unlink()

        unpacked = await self._pool.run_to_its_end(set_aside, request)
        if unpacked is None:
            return
        self._make_room(id_, self._arriving[id_] + unpacked)
        await self._pool.run_to_its_end(unzip, request)
        self._arriving[id_] = unpacked

    def _found(self, folder: Path) -> tuple[str, Path]:
        """What an upload is, and the file or folder to read.

        Raises:
          ApiError: it is no scan, or no image where only images are searched.
        """
        with _refused():
            if self._images_only or listing.are_pictures(folder):
                kind, path = "image", listing.images_in(folder)
            else:
                kind, path = "scan", listing.scan_in(folder)
            if kind == "image":  # of a scan, it is checked where it is read
                roots.require_inside(path, folder.resolve(), headers=True)
            return kind, path


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """Within this context, files that are refused are the client's error."""
    try:
        yield
    except (zips.ZipError, ScanError) as error:
        raise ApiError(HTTPStatus.BAD_REQUEST, str(error)) from None


def _set_aside(folder: Path, aside: Path) -> bool:
    """Move the zip archive in a folder away and empty the folder; whether there is one.

    Raises:
      ZipError: it is not alone.
    """
    files = [path for path in folder.rglob("*") if path.is_file()]
    packed = [path for path in files if zips.is_zip(path)]
    if packed and len(files) > 1:
        raise zips.ZipError("a zip archive next to other files; send it alone")
    for path in packed:
        path.rename(aside)
        shutil.rmtree(folder)
        folder.mkdir()
    return bool(packed)


async def _timely(request: Request, limits: Limits) -> AsyncIterator[bytes]:
    """The pieces of a body, each `LEAST_BYTES` of which arrive within `Limits.silent_s`.

    The time in which the caller works on a piece does not count.

    Raises:
      ApiError: they do not.
    """
    chunks, missing = request.stream().__aiter__(), LEAST_BYTES
    end = time.monotonic() + limits.silent_s
    while True:
        try:
            chunk = await asyncio.wait_for(anext(chunks), max(0.0, end - time.monotonic()))
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise ApiError(
                HTTPStatus.REQUEST_TIMEOUT, "the upload stopped or is too slow; send it again"
            ) from None
        missing -= len(chunk)
        if missing <= 0:
            missing, end = LEAST_BYTES, time.monotonic() + limits.silent_s
        begin = time.monotonic()
        yield chunk
        end += time.monotonic() - begin


class _Form:
    """The files of a form, written while it is parsed."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder, self._limits = folder, limits
        self._names = Names()
        self._files = 0
        self._open: IO[bytes] | None = None
        self._field, self._value = b"", b""
        self._headers: dict[bytes, bytes] = {}
        self._complete = False
        self.received = 0

    def callbacks(self) -> dict[str, Callable]:
        """For `MultipartParser`."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, a, b: self._add_field(data[a:b]),
            "on_header_value": lambda data, a, b: self._add_value(data[a:b]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._start_file,
            "on_part_data": lambda data, a, b: self._open and self._open.write(data[a:b]),
            "on_part_end": self.close,
            "on_end": self._end,
        }

    def count(self, size: int) -> None:
        """Count bytes of the form.

        Raises:
          ApiError: they are too many.
        """
        self.received += size
        most = self._limits.upload_bytes
        if self.received > most:
            raise ApiError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the upload has more than {most / 1e9:.3g} GB",
                "open the scan from a folder of --scans instead",
            )

    def require_complete(self) -> None:
        """Raise an ApiError unless the form is complete and has a file."""
        if not self._complete:
            raise ApiError(HTTPStatus.BAD_REQUEST, "the upload is incomplete; send it again")
        if not self._files:
            raise ApiError(HTTPStatus.BAD_REQUEST, "no file; choose a scan or an image")

    def close(self) -> None:
        """Close the file that is being written."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _begin(self) -> None:
        self._headers, self._field, self._value = {}, b"", b""

    def _add_field(self, data: bytes) -> None:
        self._field += data

    def _add_value(self, data: bytes) -> None:
        self._value += data

    def _end_header(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field, self._value = b"", b""

    def _end(self) -> None:
        self._complete = True

    def _start_file(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        if options.get(b"name") != FIELD.encode() or b"filename" not in options:
            raise ApiError(HTTPStatus.BAD_REQUEST, f"each part must be a file named {FIELD}")
        try:
            target = self._names.add(options[b"filename"].decode())
        except UnicodeDecodeError:
            raise ApiError(
                HTTPStatus.BAD_REQUEST, "the name of a file is not UTF-8; rename it"
            ) from None
        except RefusedName as error:
            raise ApiError(HTTPStatus.BAD_REQUEST, str(error)) from None
        if target is None:
            return  # its content is dropped
        self._files += 1
        if self._files > self._limits.upload_files:
            raise ApiError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"more than {self._limits.upload_files} files; send the folder of one scan",
            )
        path = self._folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open = open(path, "xb")  # noqa: SIM115  (closed by the end of the part)
