"""Uploads: streamed to disk, kept below limits, and removed."""

import asyncio
import dataclasses
import secrets
import shutil
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import IO

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from inres.ct import listing
from inres.ct.header import ScanError
from inres.system.files import FULL_DISK
from inres.web import zips
from inres.web.answers import ApiError
from inres.web.names import Names, RefusedName
from inres.web.settings import Limits
from inres.web.work import Pool

FIELD = "file"
"""Name of the parts of a form that hold files."""
_BUSY_S = 60.0
"""Seconds for which an upload that was used is not removed for another."""


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
        self._receiving = 0

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
        if self._receiving >= self._limits.uploads:
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "too many uploads at once; try again")
        self._receiving += 1
        id_ = secrets.token_urlsafe(12)
        # Named by the upload, as a scan is recognised by the name of its folder.
        folder = self._folder / id_ / f"upload-{id_}"
        try:
            folder.mkdir(parents=True)
            self._make_room(0)
            size = await self._store(request, folder)
            kind, path = await self._pool.run(lambda: self._unpacked(folder), request)
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
            self._receiving -= 1
        self._held[id_] = Upload(id_, folder, kind, path, size, time.monotonic())
        return self._held[id_]

    def _make_room(self, needed: int) -> None:
        """Remove the uploads that were not used for longest, until another fits.

        Raises:
          ApiError: the others are in use.
        """
        for one in self._by_use():
            if self._has_room(needed):
                return
            if time.monotonic() - one.used > _BUSY_S:
                self.remove(one.id)
        if not self._has_room(needed):
            raise ApiError(
                HTTPStatus.INSUFFICIENT_STORAGE,
                "the server holds as many uploads as it may",
                "close a scan, or try again in a minute",
            )

    def _has_room(self, needed: int) -> bool:
        stored = sum(one.bytes for one in self._held.values())
        fits = stored + needed <= self._limits.stored_bytes
        return fits and len(self._held) < self._limits.uploads

    async def _store(self, request: Request, folder: Path) -> int:
        """Write the files of a form below a folder as they arrive; their number of bytes."""
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
            chunks = request.stream().__aiter__()
            while True:
                try:
                    chunk = await asyncio.wait_for(anext(chunks), self._limits.silent_s)
                except StopAsyncIteration:
                    break
                except TimeoutError:
                    raise ApiError(
                        HTTPStatus.REQUEST_TIMEOUT, "the upload stopped; send it again"
                    ) from None
                form.count(len(chunk))
                if form.received % (1 << 26) < len(chunk):
                    self._make_room(form.received)
                await self._pool.run(lambda chunk=chunk: parser.write(chunk))  # type: ignore[misc]
            await self._pool.run(parser.finalize)
            form.require_complete()
        except MultipartParseError:
            raise ApiError(HTTPStatus.BAD_REQUEST, "the form is damaged; send it again") from None
        finally:
            form.close()
        return form.received

    def _unpacked(self, folder: Path) -> tuple[str, Path]:
        """What an upload is, and the file or folder to read, after unpacking.

        Raises:
          ApiError: it is refused.
        """
        files = [path for path in folder.rglob("*") if path.is_file()]
        packed = [path for path in files if zips.is_zip(path)]
        try:
            if packed and len(files) > 1:
                raise zips.ZipError("a zip archive next to other files; send it alone")
            for path in packed:
                aside = folder.parent / "packed.zip"
                path.rename(aside)
                shutil.rmtree(folder)
                folder.mkdir()
                most = self._limits
                zips.unzip(
                    aside, folder, most_files=most.upload_files, most_bytes=most.unpacked_bytes
                )
                aside.unlink()
            if self._images_only or listing.are_pictures(folder):
                return "image", listing.images_in(folder)
            return "scan", listing.scan_in(folder)
        except (zips.ZipError, ScanError) as error:
            raise ApiError(HTTPStatus.BAD_REQUEST, str(error)) from None


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
