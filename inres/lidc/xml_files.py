"""The XML files of a download: next to the slices, in a folder of their own, or in a zip file.

Files belong to series by the SeriesInstanceUID inside them, never by their names or folders.
"""

import contextlib
import dataclasses
import os
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from inres.lidc import readings
from inres.lidc.readings import Reading, ReadingError

MOST_BYTES = 1 << 26
"""Length of the largest file of readings; the LIDC's have up to 2.2 MB."""


@dataclasses.dataclass(frozen=True, order=True)
class Place:
    """One XML file."""

    path: Path
    """The file, or the zip file that it is in."""
    member: str = ""
    """Its name in the zip file."""

    def __str__(self) -> str:
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    def relative_to(self, root: Path) -> str:
        """The file's name below `root`, as `below` understands it."""
        inner = self.path.relative_to(root).as_posix()
        return f"{inner}/{self.member}" if self.member else inner

    @classmethod
    def below(cls, root: Path, name: str) -> "Place":
        """The file of this name below `root`, of which a part may be a zip file.

        Raises:
          ReadingError: there is no such file.
        """
        parts = name.split("/")
        for count in range(1, len(parts) + 1):
            path = root.joinpath(*parts[:count])
            if path.is_file():
                return cls(path, "/".join(parts[count:]))
        raise ReadingError(f"{root / name}: no such file; restore it")


@dataclasses.dataclass(frozen=True)
class Library:
    """XML files by series."""

    places: Mapping[str, Sequence[Place]]
    """The files of each series by its uid. Some series are there several times."""
    others: int
    """Number of XML files of another kind, such as readings of radiographs."""
    problems: tuple[str, ...]
    """Files that cannot be read."""


class Opener:
    """Opens XML files within a `with` statement; zip files stay open until its end."""

    def __enter__(self) -> "Opener":
        self._stack = contextlib.ExitStack()
        self._zips: dict[Path, zipfile.ZipFile] = {}
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def open(self, place: Place) -> Iterator[IO[bytes]]:
        """The file, open for reading.

        Raises:
          ReadingError: it cannot be opened, or is damaged as far as it is read.
        """
        try:
            if not place.member:
                with open(place.path, "rb") as file:
                    yield file
                return
            if place.path not in self._zips:
                self._zips[place.path] = self._stack.enter_context(zipfile.ZipFile(place.path))
            with self._zips[place.path].open(place.member) as file:
                yield file
        except ReadingError:
            raise
        # A damaged zip file may seem encrypted, or compressed by an unknown method.
        except (OSError, KeyError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ReadingError(f"{place}: cannot be read ({error}); fetch the file again") from None


def survey(root: Path) -> Library:
    """All XML files below a folder, also in zip files; or `root` itself if it is such a file.

    Only the beginning of each file is read.
    """
    walked = [root] if root.is_file() else _below(root)
    found: dict[str, list[Place]] = defaultdict(list)
    others, problems = 0, []
    with Opener() as opener:
        for path in walked:
            try:
                places = _places(path)
            except ReadingError as error:
                problems.append(str(error))
                continue
            for place in places:
                try:
                    with opener.open(place) as file:
                        uid = readings.series_uid(file, name=str(place))
                except ReadingError as error:
                    problems.append(str(error))
                    continue
                if uid:
                    found[uid].append(place)
                else:
                    others += 1
    return Library(dict(found), others, tuple(problems))


def read(places: Sequence[Place], opener: Opener) -> Reading:
    """What was marked in a series, of which there may be several equal files.

    Raises:
      ReadingError: a file is damaged, or two differ.
    """
    found = []
    for place in places:
        with opener.open(place) as file:
            found.append(readings.read(file, name=str(place)))
    for other in found[1:]:
        if other != found[0]:
            raise ReadingError(
                f"{found[0].name} and {other.name}: different marks for one series "
                f"({found[0].series_uid}); remove one"
            )
    return found[0]


def _require_size(size: int, name: str) -> None:
    if size > MOST_BYTES and name.lower().endswith(".xml"):
        raise ReadingError(
            f"{name}: {size / 1e6:.0f} MB; readings have a few; fetch it again or remove it"
        )


def _below(root: Path) -> list[Path]:
    return sorted(Path(folder, name) for folder, _, names in os.walk(root) for name in names)


def _places(path: Path) -> list[Place]:
    """The XML files that `path` is or contains. Hidden files, as macOS adds them, are none."""
    if path.name.startswith("."):
        return []
    suffix = path.suffix.lower()
    if suffix not in (".xml", ".zip"):
        return []
    if not path.is_file():
        raise ReadingError(f"{path}: a pipe, a device or a broken link; restore or remove it")
    if suffix == ".xml":
        _require_size(path.stat().st_size, str(path))
        return [Place(path)]
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            for entry in archive.infolist():
                _require_size(entry.file_size, f"{path}/{entry.filename}")
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        if isinstance(error, ReadingError):
            raise
        raise ReadingError(f"{path}: damaged zip file ({error}); fetch it again") from None
    shown = [name for name in names if not name.rpartition("/")[2].startswith(".")]
    return [Place(path, name) for name in sorted(shown) if name.lower().endswith(".xml")]
