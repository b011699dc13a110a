"""Items that were added to a finished run, next to its archive on disk.

  added/<number of the first item>/   one folder for each addition
    items.csv       the item table
    images.npy      uint8 [n, S, S], every item as the network sees it
    embeddings.npz  the layers of the network for every item
    scans.csv       what was decided for each scan (`inres.data.item_store`; of scans only)
    added.json      number and id of the first item, number of items, checksums

A folder is complete before its items enter the archive, and never changes. If the program is killed
in between, the archive has no ids for its items: readers ignore it, and the next addition removes
it. The numbers of added items follow those of the run's own items.
"""

import contextlib
import dataclasses
import itertools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from inres.data import item_table
from inres.data.items import Item
from inres.encoding.encoded import Encoded
from inres.pipeline import artifacts
from inres.storage import manifest
from inres.system import files

FOLDER, DESCRIPTION, LOCK = "added", "added.json", ".lock"
AGAIN = "restore it from a backup"


class AddedError(ValueError):
    """The items that were added are damaged, or cannot be changed now."""


@dataclasses.dataclass(frozen=True)
class Segment:
    """One addition on disk."""

    root: Path
    first_item: int
    first_id: int
    """Id in the archive; those of the other items follow."""
    count: int


class Images(Sequence[np.ndarray]):
    """Images of several arrays, uint8 [N, S, S] in all, without copying them."""

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self._parts = tuple(parts)
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, item: int) -> np.ndarray:  # type: ignore[override]
        if not 0 <= item < len(self):
            raise IndexError(item)
        part = int(np.searchsorted(self._ends, item, side="right"))
        return self._parts[part][item - int(self._ends[part]) + len(self._parts[part])]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (image for part in self._parts for image in part)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, S, S)."""
        return len(self), *self._parts[0].shape[1:]


def folder(archive: Path) -> Path:
    """Where the additions to the archive at `archive` are."""
    return archive.parent / FOLDER


def next_id(archive: Path) -> int:
    """The id of the next item that is added to the archive at `archive`."""
    return int(manifest.read(archive)["next_id"])


def segments(archive: Path) -> tuple[Segment, ...]:
    """The additions whose items are in the archive, or were, by ascending item.

    Raises:
      AddedError, ValueError: a description is damaged, or an addition is missing.
    """
    end = next_id(archive)
    found = sorted(_described(archive), key=lambda one: one.first_item)
    found = [one for one in found if one.first_id + one.count <= end]
    for one, after in itertools.pairwise(found):
        if one.first_item + one.count != after.first_item:
            raise AddedError(
                f"{folder(archive)}: items {one.first_item + one.count} to "
                f"{after.first_item - 1} are missing; {AGAIN}"
            )
    return tuple(found)


def remove_leftovers(archive: Path) -> None:
    """Remove what killed programs did not finish; only for the holder of `lock`."""
    files.remove_leftovers(folder(archive))
    end = next_id(archive)
    for one in _described(archive):
        if one.first_id + one.count > end:
            shutil.rmtree(one.root)


def lock(archive: Path) -> contextlib.AbstractContextManager[None]:
    """Hold the additions of an archive for one writer.

    Raises:
      AddedError: another program holds them.
    """
    root = folder(archive)
    root.mkdir(exist_ok=True)
    return files.lock(
        root / LOCK,
        AddedError(f"{root}: another program is adding items; try again when it is done"),
    )


def write(
    archive: Path,
    items: Sequence[Item],
    images: np.ndarray,
    encoded: Encoded,
    *,
    first_item: int,
    first_id: int,
    scans: Path | None = None,
) -> Segment:
    """Write an addition durably; its items are not in the archive yet.

    Args:
      images: uint8 [n, S, S].
      scans: the table of what was decided for each scan, if there is one.
    """
    root = folder(archive) / f"{first_item:09d}"
    with files.atomic_path(root) as part:
        part.mkdir()
        item_table.write_table(part / "items.csv", items)
        with files.array_file(part / "images.npy", images.shape) as file:
            file.write(np.ascontiguousarray(images).tobytes())
        artifacts.save_embeddings(part / "embeddings.npz", encoded)
        if scans is not None and scans.is_file():
            shutil.copyfile(scans, part / "scans.csv")
        sums = {path.name: files.sha256(path) for path in sorted(part.iterdir())}
        numbers = {"first_item": first_item, "first_id": first_id, "count": len(items)}
        files.write_json(part / DESCRIPTION, {**numbers, "sha256": sums})
    return Segment(root, **numbers)


def read_items(segment: Segment) -> list[Item]:
    """The items of an addition.

    Raises:
      AddedError, ValueError: the table is damaged.
    """
    _compare(segment, "items.csv", _sums(segment))
    items = item_table.read_written(segment.root / "items.csv")
    if len(items) != segment.count:
        raise AddedError(f"{segment.root / 'items.csv'}: {len(items)} items; {AGAIN}")
    return items


def read_images(segment: Segment) -> np.ndarray:
    """The images of an addition, memory-mapped, uint8 [n, S, S].

    Raises:
      AddedError, ValueError: the file is damaged.
    """
    images = files.load_array(segment.root / "images.npy", AGAIN, mmap=True)
    if len(images) != segment.count:
        raise AddedError(f"{segment.root / 'images.npy'}: {len(images)} images; {AGAIN}")
    return images


def read_embeddings(segment: Segment) -> Encoded:
    """The layers of the network for the items of an addition, memory-mapped.

    Raises:
      AddedError, ValueError: the file is damaged.
    """
    layers = artifacts.load_embeddings(segment.root, AGAIN)
    if len(layers) != segment.count:
        raise AddedError(f"{segment.root / 'embeddings.npz'}: {len(layers)} items; {AGAIN}")
    return layers


def verify(segment: Segment) -> None:
    """Compare the files of an addition with their checksums.

    Raises:
      AddedError: one is missing or differs.
    """
    sums = _sums(segment)
    for name in sums:
        _compare(segment, name, sums)


def _sums(segment: Segment) -> Mapping[str, str]:
    """The checksums of an addition's files."""
    path = segment.root / DESCRIPTION
    sums = files.read_json(path, remedy=AGAIN).get("sha256")
    if not isinstance(sums, dict):
        raise AddedError(f"{path}: damaged (no checksums); {AGAIN}")
    return sums


def _compare(segment: Segment, name: str, sums: Mapping[str, str]) -> None:
    path = segment.root / name
    if not path.is_file() or files.sha256(path) != sums.get(name):
        raise AddedError(f"{path}: missing or damaged (checksum differs); {AGAIN}")


def _described(archive: Path) -> Iterator[Segment]:
    root = folder(archive)
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if not (path.is_dir() and path.name.isdigit()):
            continue
        text = files.read_json(path / DESCRIPTION, remedy=AGAIN)
        try:
            yield Segment(path, *(int(text[n]) for n in ("first_item", "first_id", "count")))
        except (KeyError, TypeError, ValueError) as error:
            raise AddedError(f"{path / DESCRIPTION}: damaged ({error}); {AGAIN}") from None
