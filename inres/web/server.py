"""What all requests share: the archive, threads, uploads and opened scans."""

import asyncio
import concurrent.futures
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

from starlette.requests import Request

from inres import sources
from inres.archive import Archive
from inres.storage import records
from inres.storage.errors import StoreError
from inres.system import memory
from inres.web import failures
from inres.web.answers import ApiError
from inres.web.holding import upload_folder
from inres.web.scans import OpenedScans
from inres.web.settings import Settings
from inres.web.uploads import Uploads
from inres.web.work import Pool

_JANITOR_S = 5.0
T = TypeVar("T")


class Server:
    """The state of one server, while it is `running`."""

    uploads: Uploads
    scans: OpenedScans

    def __init__(self, archive: Archive, settings: Settings, *, name: str) -> None:
        self.archive, self.settings, self.name = archive, settings, name
        limits = settings.limits
        self.searching = Pool("search", limits.threads, limits.waiting)
        self.drawing = Pool("draw", limits.threads, limits.waiting)
        self.exporting = Pool("export", 1, limits.exports)
        self.reading = Pool("read", limits.readers, limits.scans)
        self.storing = Pool("store", limits.threads, limits.waiting)
        self.ready_made = sources.get(archive.config.data.kind).ready_made
        """Whether the archive consists of images of a folder instead of scans."""
        self.state = "starting" if settings.warm_up else "ready"
        """`starting` while networks are loaded, then `ready`; `failed` if they cannot be."""
        self._hidden: list[tuple[re.Pattern[str], str]] = []

    @contextlib.asynccontextmanager
    async def running(self, temporary: Path | None = None) -> AsyncIterator[None]:
        """Hold the folder of uploads, and do what is due from time to time.

        Args:
          temporary: where the folder of uploads is made; by default as `upload_folder`.
        """
        pools = (self.searching, self.drawing, self.exporting, self.reading, self.storing)
        with upload_folder(temporary) as folder:
            self._hidden = self._names_of(folder)
            limits = self.settings.limits
            self.scans = OpenedScans(self.archive, self.reading, limits, self.hide, self.notes)
            self.uploads = Uploads(
                folder,
                limits,
                self.storing,
                images_only=self.ready_made,
                last_used=self.scans.last_used,
                removed=self.scans.close_upload,
            )
            janitor = asyncio.create_task(self._clean_up())
            if self.settings.warm_up:
                self.searching.submit(self.archive.warm_up).add_done_callback(self._warmed_up)
            try:
                yield
            finally:
                janitor.cancel()
                self.scans.end()
                for pool in pools:
                    pool.close()

    def _warmed_up(self, future: "concurrent.futures.Future[None]") -> None:
        """Note that the networks are loaded; that they cannot be, the first query will say."""
        error = None if future.cancelled() else future.exception()
        self.state = "ready" if error is None else "failed"
        if error is not None:
            failures.log(error)

    async def _clean_up(self) -> None:
        while True:
            await asyncio.sleep(_JANITOR_S)
            try:
                self.scans.abandon_unwanted()
                self.uploads.remove_idle()
            except Exception as error:  # this must go on
                failures.log(error)

    def _names_of(self, uploads: Path) -> list[tuple[re.Pattern[str], str]]:
        """What stands for the folders of this machine in messages."""
        held = "|".join({re.escape(str(path)) for path in (uploads, uploads.resolve())})
        one = f"(?:{held})/[\\w-]+/upload-[\\w-]+"
        hidden = [(f"{one}/", ""), (one, "the upload"), (held, "the uploads")]
        data = self.archive.config.data.root
        folders = {
            **({data: "the archive's data"} if Path(data).is_absolute() else {}),
            str(self.archive.root): self.name,
            **{str(path): name for name, path in self.settings.roots.items()},
        }
        for folder in sorted(folders, key=len, reverse=True):  # inner ones first
            hidden.append((f"{re.escape(folder)}(?![^/:\\s,;'\")\\]])", folders[folder]))
        return [(re.compile(pattern), shown.replace("\\", r"\\")) for pattern, shown in hidden]

    def hide(self, text: str) -> str:
        """A message of the library without the folders of this machine."""
        for pattern, shown in self._hidden:
            text = pattern.sub(shown, text)
        return text

    def notes(self, messages: Sequence[str], path: Path | None) -> list[str]:
        """Messages of the library on the file or folder at `path`, without its name."""
        return [self.hide(message.removeprefix(f"{path}: ")) for message in messages]

    def forget(self, id_: str) -> None:
        """Close a scan, and remove its files if it was uploaded; or remove an uploaded image."""
        upload = self.scans[id_].source.upload if id_ in self.scans else id_
        self.scans.close(id_)
        if upload and not self.scans.last_used(upload):
            self.uploads.remove(upload)

    async def search(self, work: Callable[[], T], request: Request) -> T:
        """The result of work with the archive as it is on disk, in a thread; as `call`."""

        def current() -> T:
            self._refresh()
            return work()

        return await self.searching.run(lambda: self.call(current), request)

    def _refresh(self) -> None:
        """See what other programs have added or removed; else the archive stays as it was."""
        try:
            self.archive.refresh()
        except (ValueError, OSError) as error:
            failures.log(error)

    def call(self, work: Callable[[], T]) -> T:
        """The result of work with the archive.

        Raises:
          ApiError: the library refused it; with the library's message.
        """
        limits = self.settings.limits
        try:
            with records.time_limit(limits.condition_s), memory.at_most(limits.unpacked_bytes):
                return work()
        except ApiError:
            raise
        except (StoreError, OSError) as error:
            raise ApiError(
                HTTPStatus.INTERNAL_SERVER_ERROR, self.hide(str(error) or repr(error))
            ) from None
        except (ValueError, TypeError) as error:
            raise ApiError(HTTPStatus.BAD_REQUEST, self.hide(str(error))) from None
        except MemoryError:
            raise ApiError(
                HTTPStatus.SERVICE_UNAVAILABLE, "not enough memory on the server"
            ) from None
