"""The Index: the items that a search reads, in one or several segments."""

import dataclasses
import functools
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from inres.retrieval import checks, native, tiling
from inres.retrieval import codes as codes_lib
from inres.retrieval import segment as segment_lib
from inres.retrieval.ids import as_ids
from inres.retrieval.segment import Segment

if TYPE_CHECKING:
    from inres.retrieval.device_index import DeviceIndex

_COPYING = threading.Lock()
"""Held while items are copied to a device, so that threads do not copy them twice."""


@dataclasses.dataclass(frozen=True)
class Index:
    """Items in segments; no id occurs twice. Made by `build`, or from files on disk."""

    segments: tuple[Segment, ...]
    bits: int
    dims: int
    """Values per feature vector."""
    room: int = 0
    """Number of items that the shapes of the jitted programs allow at least."""
    origin: "Index | None" = dataclasses.field(default=None, repr=False)
    """The index of which this one hides items or replaces labels: both share copies on devices."""

    def __len__(self) -> int:
        return sum(len(part) for part in self.segments)

    @property
    def capacity(self) -> int:
        """Number of items that the shapes of the jitted programs allow."""
        return tiling.capacity(max(len(self), self.room))

    @functools.cached_property
    def labelled(self) -> bool:
        """Whether items have labels."""
        return any(part.labels is not None for part in self.segments)

    @functools.cached_property
    def kernel_items(self) -> native.Items:
        """The arrays as the CPU kernel takes them."""
        return native.items(self.segments, bits=self.bits, dims=self.dims)

    @functools.cached_property
    def ids(self) -> np.ndarray:
        """The ids of all items, hidden ones too, int32 [N], ascending."""
        return np.sort(self._ids)

    @property
    def on_device(self) -> "DeviceIndex":
        """The items on JAX's default device, copied at the first use."""
        with _COPYING:
            return self._on_device

    @functools.cached_property
    def _on_device(self) -> "DeviceIndex":
        from inres.retrieval import device_index  # imports JAX, which the kernel does not need

        if self.origin is not None:
            labels = self._device_labels()
            ascending = None if labels is None else labels[np.argsort(self._ids)]
            return device_index.with_labels(self.origin._on_device, ascending)
        parts = self.segments
        codes = [part.directory.of_items() for part in parts]
        features = [np.asarray(part.sorted_features(), np.float32) for part in parts]
        return device_index.build(
            _joined(codes, np.zeros((0, codes_lib.words(self.bits)), np.uint32)),
            _joined(features, np.zeros((0, self.dims), np.float32)),
            bits=self.bits,
            ids=self._ids,
            groups=_tags([part.groups for part in parts], parts, -1),
            labels=self._device_labels(),
            capacity=self.capacity,
        )

    @property
    def _ids(self) -> np.ndarray:
        """int32 [N], segment by segment."""
        return _joined([part.ids for part in self.segments], np.zeros(0, np.int32))

    def _device_labels(self) -> np.ndarray | None:
        """Labels int32 [N], segment by segment, -1 for hidden items; None if nothing is hidden."""
        if not self.labelled and all(part.hidden is None for part in self.segments):
            return None
        labels = _tags([part.labels for part in self.segments], self.segments, 0)
        hidden = [segment_lib.is_hidden(part) for part in self.segments]
        return np.where(np.concatenate(hidden), -1, labels)


def _joined(parts: Sequence[np.ndarray], nothing: np.ndarray) -> np.ndarray:
    """Arrays one after the other, or `nothing` if there are none."""
    if not parts:
        return nothing
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _tags(tags: Sequence[np.ndarray | None], parts: Sequence[Segment], missing: int) -> np.ndarray:
    """Tags int32 [N], segment by segment, `missing` where a segment has none."""
    filled = [
        np.full(len(part), missing, np.int32) if values is None else values
        for values, part in zip(tags, parts, strict=True)
    ]
    return _joined(filled, np.zeros(0, np.int32))


def build(
    codes: Any,
    features: Any,
    *,
    bits: int,
    groups: Any = None,
    labels: Any = None,
    ids: Any = None,
    capacity: int = 0,
) -> Index:
    """Build an Index of N items in memory.

    Args:
      codes: uint32 [N, words(bits)], as returned by `codes.pack`.
      features: [N, D], float32, float16 or bfloat16, kept in this type and widened to float32 when
        distances are computed. Memory-mapped arrays work.
      bits: code length h.
      groups: int [N], for instance the scan of each item; a query can exclude one group. -1: no
        group.
      labels: int [N]; a query can be restricted to one label. Items with -1 are never found.
      ids: int [N], unique and at least 0; default 0 ... N - 1.
      capacity: minimum number of items that the shapes of the jitted programs allow; an index that
        grows within it needs no new compilation. 0: N.

    Raises:
      TypeError: a dtype is wrong.
      ValueError: widths or lengths disagree, ids repeat, or features are not finite.
    """
    codes, features, ids, groups, labels = checks.items(
        codes, features, bits=bits, ids=ids, groups=groups, labels=labels
    )
    made = segment_lib.build(codes, features, bits=bits, ids=ids, groups=groups, labels=labels)
    return Index((made,), bits, features.shape[1], capacity)


def with_labels(index: Index, labels: Any) -> Index:
    """A copy of the Index with other labels; all other arrays are shared.

    Args:
      index: the index.
      labels: int [N], in ascending order of the items' ids. Items with -1 are never found.

    Raises:
      ValueError: the length is not N, or a value is below -1.
    """
    labels = checks.integers(labels, len(index), "labels")
    parts = [
        dataclasses.replace(part, labels=labels[np.searchsorted(index.ids, part.ids)])
        for part in index.segments
    ]
    return dataclasses.replace(index, segments=tuple(parts), origin=index.origin or index)


def without_labels(index: Index) -> Index:
    """The Index without labels: a search can then not be restricted to one, and is faster."""
    parts = tuple(dataclasses.replace(part, labels=None) for part in index.segments)
    return dataclasses.replace(index, segments=parts, origin=index.origin or index)


def keep(index: Index, ids: Any) -> Index:
    """A copy of the Index that finds only the items `ids`; hidden items stay hidden.

    Raises:
      ValueError: `ids` is not an integer array of shape [n].
    """
    kept = as_ids(ids)
    parts = [
        segment_lib.with_hidden(part, np.isin(part.ids, kept, invert=True))
        for part in index.segments
    ]
    return dataclasses.replace(index, segments=tuple(parts), origin=index.origin or index)
