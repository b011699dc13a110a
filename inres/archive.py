"""A finished run as an object: open it once, then search it from any program."""

import bisect
import collections
import dataclasses
import functools
import importlib.util
import os
import reprlib
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from inres import sources
from inres.config import Config, Data
from inres.ct import dicom, parts
from inres.ct.header import ScanError, Vector
from inres.data import (
    folder,
    image_stack,
    item_slices,
    items,
    origins,
    queries,
    query_images,
    views,
)
from inres.data.image_stack import ImageStack, Positions
from inres.data.item_slices import ItemSlices
from inres.data.item_store import ItemStore
from inres.data.origins import Origin
from inres.data.queries import QueryInput, QueryScan
from inres.encoding.encoded import Encoded
from inres.pipeline import added as added_lib
from inres.pipeline import artifacts, digests, export
from inres.pipeline.records import RECORD_COLUMNS, fields_of
from inres.pipeline.trained import TrainedRun, open_workdir, renewed
from inres.retrieval import codes as codes_lib
from inres.retrieval import distinct as distinct_lib
from inres.retrieval import index as index_lib
from inres.retrieval import search as search_lib
from inres.retrieval.index import Index
from inres.retrieval.search import Result
from inres.searching import arguments, properties, weighted
from inres.searching.hits import Hit, Hits, Query, SearchOptions
from inres.storage import manifest as manifest_lib
from inres.storage.manifest import Stamp
from inres.storage.store import Records
from inres.system.lazy import Lazy
from inres.system.progress import Step, untold

if TYPE_CHECKING:
    from inres.pipeline import growing
else:
    growing = Lazy("inres.pipeline.growing")  # imports JAX, which most searches do without

NETWORKS = ("auto", "flax", "exported")
OPEN_SCANS = 2
"""Scans that an archive keeps in memory for further queries."""
MOST_SORTED = 1_000_000
"""Items of an archive whose records can be sorted by any column, which takes seconds."""
_KEPT = ("_scans", "_scans_lock", "_renewing", "_store")
"""What does not depend on the items that are added or removed."""
_CODE_ALONE = "a code alone: its image, class and properties are unknown"
P = ParamSpec("P")
T = TypeVar("T")


def _in_one_state(
    method: Callable[Concatenate["Archive", P], T],
) -> Callable[Concatenate["Archive", P], T]:
    """Run a method on the archive as it is now, whatever another thread adds or removes meanwhile.

    The state is the object's dictionary, caches included, which is only ever replaced as a whole.
    """

    @functools.wraps(method)
    def run(self: "Archive", *args: P.args, **kwargs: P.kwargs) -> T:
        now = object.__new__(type(self))
        now.__dict__ = self.__dict__
        return method(now, *args, **kwargs)

    return run


class Archive:
    """A searchable archive with the networks that encode queries.

    Example::

        archive = Archive.open("runs/phantom")
        hits = archive.search_scan("patient.mhd", world_mm=(-100.6, 67.3, -231.8), k=10)
        hits[0].record["scan"], hits[0].record["diameter_mm"], hits[0].distance

    Every search takes the fields of `SearchOptions` as keyword arguments; without a threshold it
    uses that of the run's config. Results show in which respects they are similar to the query, and
    a query can weight these properties::

        hits = archive.search_item(553, weights={"texture": 1, "margin": 2})
        hits.summary, hits.query.properties["texture"], hits[0].properties["texture"]

    A search by weights ranks all items by these properties alone. Items without a nodule have no
    texture, so such a search does not return them (`searching.properties`).

    Threads can share an archive. A search sees the archive as it was when it was called, also if
    another thread adds or removes items.
    """

    def __init__(self, run: TrainedRun, *, networks: str = "auto") -> None:
        self._run, self._networks = run, networks
        self._scans: collections.OrderedDict[tuple, QueryScan] = collections.OrderedDict()
        self._scans_lock = threading.Lock()
        self._renewing = threading.Lock()
        self._refused: Stamp = None
        """Of a state on disk that could not be opened."""

    @classmethod
    def open(cls, path: str | os.PathLike, *, networks: str = "auto") -> "Archive":
        """Open a workdir with a finished run, or a folder written by `experiments.export`.

        Args:
          path: the folder.
          networks: what encodes queries: `flax`, the network and the U-Net in Flax; `exported`, the
            programs in an exported run, which need no Flax; or `auto`, the programs only where Flax
            is not installed. The results are the same up to rounding.

        Raises:
          FileNotFoundError: there is no run at `path`, or it is not finished.
          ValueError: it is damaged or was made by another version; names the file. Or there is no
            such way to encode, or a workdir is to be opened with exported programs.
        """
        root = arguments.path_of("path", path).resolve()
        if networks not in NETWORKS:
            raise ValueError(f"networks is {networks!r}: must be one of {', '.join(NETWORKS)}")
        if export.is_export(root):
            missing = importlib.util.find_spec("flax") is None
            portable = networks == "exported" or (networks == "auto" and missing)
            return cls(export.open_export(root, portable=portable), networks=networks)
        if networks == "exported":
            raise ValueError(
                f"{root}: not an exported run, but networks is 'exported'; export the run first, "
                "or open it with Flax"
            )
        return cls(open_workdir(root), networks=networks)

    def __len__(self) -> int:
        return len(self._run.stored)

    def __repr__(self) -> str:
        return f"<Archive of {len(self)} items, {self._run.stored.bits} bits, {self._run.root}>"

    @property
    def item_count(self) -> int:
        """Number of items that `search_item` knows, archived or not."""
        return len(self._run)

    @property
    def root(self) -> Path:
        """The folder that was opened."""
        return self._run.root

    @property
    def bits(self) -> int:
        """Length of the codes."""
        return self._run.stored.bits

    @property
    def item_side_px(self) -> int:
        """Side of an image in the archive's item format, in pixels."""
        return self._run.item_side_px

    @property
    def config(self) -> Config:
        """The config of the run."""
        return self._run.config

    @property
    def _planes(self) -> int:
        """Number of planes in a network input."""
        return views.planes_of(self._run.channels)

    @property
    def _ready_made(self) -> bool:
        """Whether the archive's items are images made before, not cut from scans."""
        return sources.get(self._run.config.data.kind).ready_made

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self._run.class_names

    @property
    def properties(self) -> tuple[str, ...]:
        """Names of the properties that the network estimates and results are compared in."""
        return self._run.property_scale.names

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the further columns of the records, texts first: what the data said besides."""
        kinds = self.records.columns
        known = ("item", "image", *RECORD_COLUMNS, *self.properties)
        others = (name for name in kinds if name not in known)
        return tuple(sorted(others, key=lambda name: kinds[name] != "text"))

    @property
    def records(self) -> Records:
        """The records of the items in the archive, by id; `records[id]["item"]` is the item."""
        return self._run.stored.records

    @_in_one_state
    def options(self, given: Mapping[str, Any]) -> SearchOptions:
        """The options of a search: those `given`, and the defaults of this archive.

        Raises:
          TypeError: there is no such option.
          ValueError: a value is impossible.
        """
        known = {field.name for field in dataclasses.fields(SearchOptions)}
        unknown = sorted(set(given) - known)
        if unknown:
            raise TypeError(
                f"no search option {unknown[0]!r}; options are {', '.join(sorted(known))}"
            )
        if not given.get("weights"):  # weights do without a pool
            given = {**self._pool_of_the_run(given), **given}
        checked = SearchOptions(**given)
        if checked.weights:
            weighted.as_array(checked.weights, self.properties)
        return checked

    def _pool_of_the_run(self, given: Mapping[str, Any]) -> dict[str, int]:
        """The run's own threshold and least pool, unless another pool is `given`."""
        config, own = self._run.config, {}
        if "threshold" not in given:
            own["threshold"] = config.search.threshold
            if not given.get("nearest") and not given.get("min_pool"):
                own["min_pool"] = artifacts.least_pool(config, len(self))
        return own

    # --- searching --------------------------------------------------------------------------------

    @_in_one_state
    def search_item(self, item: int, **options: Any) -> Hits:
        """Search for items similar to an item of the run, archived or not.

        Args:
          item: row of the item table, from 0.
          options: fields of `SearchOptions`.

        Raises:
          ValueError: there is no such item, or an option is impossible.
        """
        item = self._checked_item(item)
        record = self.record(item)
        encoded = self._run.encoded(item)
        query = Query(
            f"item{item}",
            np.asarray(self._run.images[item]),
            int(encoded.fc3[0].argmax()),
            record["scan"],
            record["label"],
            record["diameter_mm"],
            properties=self._estimates(encoded),
            known=properties.known(record, self.properties),
        )
        checked = self.options(options)
        if not (record["scan"] or checked.own_scan):  # of an unknown scan, the item alone
            others = f"({checked.where}) AND " if checked.where else ""
            checked = dataclasses.replace(checked, where=f"{others}item <> {item}")
        return self._search(query, encoded, checked)

    @_in_one_state
    def search_image(
        self,
        image: str | os.PathLike | np.ndarray | Sequence[str | os.PathLike],
        *,
        z_mm: Positions | None = None,
        slice_mm: float | None = None,
        **options: Any,
    ) -> Hits:
        """Search for items similar to an image in the archive's item format, or to several.

        In an archive of a folder's images, the image is one like them. In an archive of scans, a
        file with one CT slice in HU is prepared like a scan; any other image is a crop.

        Where the archive's items consist of several slices, the query can be all slices of one
        nodule, and is then made of them as the archive's items are (`query_images.query_images`).

        Args:
          image: an image file; several files, or a folder of them, or a file with several slices
            (`image_stack.read_stack`); or an array [Y, X] or [C, Y, X] of finite values: uint8,
            uint16 over its full range, or HU in a signed or floating type. Slices are given from
            the lowest to the highest, unless `z_mm` orders them.
          z_mm: positions of the slices along the body axis in mm; or else
          slice_mm: their distance. By default, that in the header of a file with several slices.
          options: fields of `SearchOptions`.

        Raises:
          ScanError, ValueError: an image cannot be read or does not fit the archive.
        """
        checked = self.options(options)
        paths = _image_paths(image)
        if paths:
            stack = image_stack.read_stack(paths, z_mm=z_mm, slice_mm=slice_mm)
            (prepared, scan), name = self._prepare_images(stack), paths[0].stem
        else:
            stack = image_stack.stack_of(image, z_mm=z_mm, slice_mm=slice_mm)
            prepared = query_images.query_images(
                stack, config=self._run.config, planes=self._planes
            )
            name, scan = "image", ""
        return self._search_input(prepared, name=name, scan=scan, options=checked)

    @_in_one_state
    def search_scan(
        self,
        scan: str | os.PathLike | QueryScan,
        *,
        world_mm: Vector | None = None,
        slice_index: int | None = None,
        series_uid: str = "",
        **options: Any,
    ) -> Hits:
        """Search for items similar to a place in a scan.

        The scan is read and its lungs are found at the first query; further queries on it take
        milliseconds (the last `OPEN_SCANS` scans are kept). A scan whose files have changed is read
        again. A scan of the archive is recognised by its DICOM series, or else by the name of its
        file or folder, so that its own items can be left out.

        Args:
          scan: a scan (.mhd, .nrrd, .nii.gz, ...), a folder with a DICOM series, or a scan that
            `open_scan` returned.
          world_mm: x, y, z of the place in mm, LPS as in LUNA16 and DICOM; or else
          slice_index: the number of a slice, from 0.
          series_uid: which DICOM series, where a folder holds several.
          options: fields of `SearchOptions`.

        Raises:
          ScanError: the scan cannot be read, or the place is outside of it.
          ValueError: the archive does not consist of scans, or no single place is given.
        """
        checked = self.options(options)
        given = scan if isinstance(scan, QueryScan) else None
        path = given.header.path if given else arguments.path_of("scan", scan)
        self._require_scans(path)
        arguments.text("series_uid", series_uid)
        if given and given.cut.config != self._run.config.items:
            raise ValueError(
                f"{path}: opened for an archive of other items (config.items); open it with "
                "`open_scan` of this one"
            )
        if (world_mm is None) == (slice_index is None):
            raise ValueError(f"{path}: give one place in the scan, world_mm or slice_index")
        opened = given or self._kept_scan(path, series_uid)
        prepared = opened.at(world_mm=world_mm, slice_index=slice_index)
        place = f"slice{slice_index}" if world_mm is None else "_".join(f"{v:g}" for v in world_mm)
        name, own = f"{_scan_name(path)}_{place}", self._own_scan(path, opened.header.series_uid)
        return self._search_input(prepared, name=name, scan=own, options=checked)

    @_in_one_state
    def open_scan(
        self, path: str | os.PathLike, *, series_uid: str = "", step: Step = untold
    ) -> QueryScan:
        """Read a scan and find its lungs: for `search_scan`, and to show its slices (`volume`).

        The caller holds the scan for as long as it is needed; the archive does not keep it.

        Args:
          path, series_uid: as in `search_scan`.
          step: is told what is being done, and can end it by an exception.

        Raises:
          ScanError: the scan cannot be read.
          ValueError: the archive does not consist of scans.
        """
        path = arguments.path_of("path", path)
        self._require_scans(path)
        arguments.text("series_uid", series_uid)
        return queries.open_query_scan(
            path,
            config=self._run.config,
            root=self._run.data_root,
            series_uid=series_uid,
            step=step,
        )

    def _require_scans(self, path: Path) -> None:
        """Raise a ValueError, which names `path`, unless the archive was cut from scans."""
        if self._ready_made:
            raise ValueError(
                f"{path}: this archive holds images of a folder, not scans; search for an image "
                "cut like them"
            )

    @_in_one_state
    def search_many(
        self,
        codes: np.ndarray,
        features: np.ndarray,
        *,
        k: int = 10,
        threshold: int | None = None,
        min_pool: int | None = None,
        nearest: int = 0,
        where: str = "",
        exclude_scans: Sequence[str] | None = None,
        predicted: np.ndarray | None = None,
    ) -> Result:
        """Search for many encoded queries at once, for programs.

        Args:
          codes: uint32 [Q, W], as from `encode`.
          features: float32 [Q, D], as from `encode`.
          k, threshold, min_pool, nearest, where: as in `SearchOptions`; a k above the size of the
            archive counts as that size.
          exclude_scans: str [Q], the scan of each query, left out of its results; empty text: none.
          predicted: int [Q], the only class returned for each query; -1: any.

        Returns:
          Ids, distances and pool sizes as arrays. Ids are -1 where the pool has fewer items than
          k: the records of one query are `records.many(row[row >= 0])` of its row of ids.

        Raises:
          ValueError, TypeError: an option is impossible, or an array does not fit the archive.
        """
        options = self.options(
            {"k": k, "nearest": nearest, "where": where}
            | ({} if threshold is None else {"threshold": threshold})
            | ({} if min_pool is None else {"min_pool": min_pool})
        )
        if np.ndim(codes) != 2:
            raise ValueError(f"codes: shape {np.shape(codes)}; must be [Q, W], as from `encode`")
        count = len(codes)
        scans = [""] * count if exclude_scans is None else _scan_names(exclude_scans, count)
        own = [self._run.stored.group_number(scan) for scan in scans]
        return search_lib.search(
            self._filtered(where, labelled=predicted is not None),
            codes,
            features,
            k=max(1, min(k, len(self))),  # beyond, rows would be empty
            **_pool(options),
            exclude_group=np.array(own, np.int32),
            only_label=predicted,
        )

    @_in_one_state
    def search_code(
        self, code: np.ndarray, features: np.ndarray, *, scan: str = "", **options: Any
    ) -> Hits:
        """Search for items similar to one that was encoded before, with their records.

        Args:
          code: uint32 [W], a row of what `encode` returns.
          features: float32 [D], likewise.
          scan: the scan of the query, if it is one of the archive.
          options: fields of `SearchOptions`; neither `same_class` nor `weights`, because the class
            and the properties of the query are unknown.

        Raises:
          ValueError: another type or shape, or an option is impossible.
        """
        checked = self.options(options)
        arguments.text("scan", scan)
        for name in ("same_class", "weights"):
            if getattr(checked, name):
                raise ValueError(
                    f"{name}: leave it out, because class and properties of a code are unknown"
                )
        side = np.asarray(self._run.images[0]).shape[0]
        query = Query("code", np.zeros((side, side), np.uint8), -1, scan, notes=(_CODE_ALONE,))
        return self._rank(query, np.asarray(code)[None], np.asarray(features)[None], checked)

    # --- items ------------------------------------------------------------------------------------

    @_in_one_state
    def record(self, item: int) -> dict[str, Any]:
        """What is known of an item, archived or not. Unknown texts are empty, unknown numbers NaN.

        Raises:
          ValueError: there is no such item.
        """
        item = self._checked_item(item)
        id_ = self._id_of(item)
        if id_ is not None:
            return self.records[id_]
        row, kinds = self._run.items[item], self.records.columns
        names = {name: kinds.get(name, "real") for name in (*kinds, *self.properties)}
        more = {n: row.text(n) if kind == "text" else row.value(n) for n, kind in names.items()}
        return more | fields_of(row, item)

    @_in_one_state
    def is_archived(self, item: int) -> bool:
        """Whether searches can find an item.

        Raises:
          ValueError: there is no such item.
        """
        return self._id_of(self._checked_item(item)) is not None

    @_in_one_state
    def image(self, item: int) -> np.ndarray:
        """An item's own slice as the network sees it, uint8 [S, S].

        Raises:
          ValueError: there is no such item.
        """
        return np.asarray(self._run.images[self._checked_item(item)])

    @_in_one_state
    def slices(self, item: int) -> ItemSlices:
        """The slices next to an item, as far as they are stored with it.

        They are with the run's own items in its workdir. Of an exported run and of added items,
        there is the image alone.

        Raises:
          ValueError: there is no such item, or the item store is damaged.
        """
        item = self._checked_item(item)
        store = self._store
        if store is None or item >= len(store.items):
            return item_slices.image_only(np.asarray(self._run.images[item]))
        return item_slices.slices_of(store, item, self._run.config)

    @_in_one_state
    def origin(self, item: int) -> Origin:
        """The scan that an item was cut from, as far as it is known on this machine.

        Raises:
          ValueError: there is no such item.
        """
        scan = str(self.record(item)["scan"])
        return self._origins.get(scan, Origin(scan, None))

    @_in_one_state
    def find(
        self, where: str = "", *, sort: str = "", offset: int = 0, limit: int = 50
    ) -> tuple[int, list[dict[str, Any]]]:
        """Records of archived items, page by page.

        Args:
          where: an SQL condition on the records, as in `SearchOptions`; empty: all.
          sort: a column to sort by, with - before it from the largest to the least; unknown values
            come last, equal ones by their item. Empty: by item, which is the only order of archives
            of more than `MOST_SORTED` items.
          offset, limit: how many records to leave out, and to return at most.

        Returns:
          How many records meet the condition, and those of the page.

        Raises:
          ValueError: the condition is invalid, or there is no such column.
        """
        for name, given in (("where", where), ("sort", sort)):
            arguments.text(name, given)
        for name, number in (("offset", offset), ("limit", limit)):
            arguments.whole(name, number)
        ids = self.records.where(where) if where else self._ids
        if sort.removeprefix("-") not in ("", "item"):
            ids = ids[self._order(ids, sort.removeprefix("-"), reverse=sort.startswith("-"))]
        elif sort.startswith("-"):
            ids = ids[::-1]
        return len(ids), self.records.many(ids[max(0, offset) :][: max(0, limit)])

    def _order(self, ids: np.ndarray, name: str, *, reverse: bool) -> np.ndarray:
        """The order of archived items by a column, int [n]."""
        columns = self.records.columns
        if name not in columns:
            raise ValueError(f"sort: no column {name!r}; the columns are {', '.join(columns)}")
        if len(self) > MOST_SORTED:
            raise ValueError(
                f"sort: the archive has {len(self)} items, too many to sort by {name}; sort by item"
            )
        values = self.records.column(name)[np.searchsorted(self._ids, ids)]
        if columns[name] == "text":
            _, values = np.unique(values.astype(str), return_inverse=True)
        return np.argsort(-values if reverse else values, kind="stable")  # NaN is last in both

    def _checked_item(self, item: int) -> int:
        count = len(self._run)
        if isinstance(item, bool) or not isinstance(item, int | np.integer):
            raise ValueError(f"item {item!r}: must be a whole number from 0 to {count - 1}")
        if not 0 <= item < count:
            raise ValueError(f"item {item}: the item table has rows 0 to {count - 1}")
        return int(item)

    def _id_of(self, item: int) -> int | None:
        """The id of an item in the archive; None if it is not there.

        It is found by halves, as items have ascending ids.
        """
        ids, records = self._ids, self.records
        place = bisect.bisect_left(
            range(len(ids)),
            item,
            key=lambda at: records[int(ids[at])]["item"],  # type: ignore[arg-type, return-value]
        )
        if place == len(ids) or records[int(ids[place])]["item"] != item:
            return None
        return int(ids[place])

    @functools.cached_property
    def _store(self) -> ItemStore | None:
        return self._run.open_store()

    @functools.cached_property
    def _origins(self) -> dict[str, Origin]:
        """Where the scans of the items are, by name."""
        own = [] if self._store is None else [self._store.root]
        added = [segment.root for segment in added_lib.segments(self._run.stored.path)]
        return origins.read_origins([folder / "scans.csv" for folder in (*own, *added)])

    # --- growing ----------------------------------------------------------------------------------

    def add(
        self,
        scans: str | os.PathLike,
        *,
        kind: str = "",
        normals: int = 0,
        workers: int = 0,
        data: Data | None = None,
    ) -> "growing.Added":
        """Add the items of further scans to the archive on disk, and to this object.

        Other programs that have the archive open see the new items after `refresh`.

        Args:
          scans: the folder of a data source, or a table such as cases.csv (`inres.sources.cases`).
          kind: the source; by default `cases` for a .csv file, and the run's own otherwise.
          normals: number of normal slices to add, over all scans.
          workers: processes for scans; 0 means one per core.
          data: settings of the source; by default those of the run.

        Raises:
          ValueError: the scans cannot be used, or another program is writing; nothing is added.
          OSError: no such file, or the disk is full; nothing is added.
        """
        path = arguments.path_of("scans", scans).resolve()
        arguments.text("kind", kind)
        arguments.whole("normals", normals, least=0)
        arguments.whole("workers", workers, least=0)
        given = self._run.config.data if data is None else data
        if not isinstance(given, Data):
            raise ValueError(f"data = {reprlib.repr(data)}: must be an inres.config.Data")
        named = kind or ("cases" if path.suffix.lower() == ".csv" else given.kind)
        given = dataclasses.replace(given, kind=named, root=str(path))
        found = growing.add(self._run, given, normals=normals, workers=workers)
        with self._renewing:
            self._open_again()
        return found

    def remove(self, where: str) -> int:
        """Remove items from the archive on disk, and from this object.

        Other programs that have the archive open keep these items until `refresh`.

        Args:
          where: an SQL condition on the records, as for `SearchOptions.where`.

        Returns:
          How many items were removed.

        Raises:
          ValueError: the condition is invalid, or all items meet it; nothing is removed.
        """
        count = growing.remove(self._run, arguments.text("where", where))
        with self._renewing:
            self._open_again()
        return count

    def refresh(self) -> bool:
        """See what other programs have added to the archive or removed since it was opened.

        It takes one look at a file, unless there is something new. Searches that are running keep
        the former state, and so does this object if the new one cannot be opened.

        Returns:
          Whether there was something new, which this call has opened.

        Raises:
          ValueError, OSError: the new state cannot be opened; not again until the next change.
        """
        if self._run.stored.is_current or not self._renewing.acquire(blocking=False):
            return False
        try:
            now = manifest_lib.stamp(self._run.stored.path)
            if now in (self._run.stored.stamp, self._refused):
                return False
            self._refused = now
            self._open_again()
            return True
        finally:
            self._renewing.release()

    def _open_again(self) -> None:
        """Read the archive as it is now on disk; within `_renewing`, so that the last one stays."""
        now = self.__dict__
        kept = {name: now[name] for name in _KEPT if name in now}
        # At once, and in another dictionary: searches that are running keep the former state.
        new = type(self)(renewed(self._run), networks=self._networks)
        self.__dict__ = new.__dict__ | kept

    # --- encoding ---------------------------------------------------------------------------------

    @_in_one_state
    def encode(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Codes and features of images that the network was not trained on.

        Args:
          images: network inputs, uint8 [N, S, S, C] (`inres.data.views.with_known`); or slices
            without neighbours, [N, S, S].

        Returns:
          (codes uint32 [N, W], features float32 [N, D]), for `search_many`.

        Raises:
          ValueError: another type or shape.
        """
        side, channels = self._run.config.items.input_px, self._run.channels
        images = np.asarray(images)
        fits = images.shape[1:] in ((side, side), (side, side, channels))
        if images.dtype != np.uint8 or not fits:
            raise ValueError(
                f"images: {images.dtype} {list(images.shape)}; must be uint8 "
                f"[N, {side}, {side}, {channels}] or [N, {side}, {side}]"
            )
        if images.ndim == 3:
            images = views.single(images, self._run.channels)
        images = views.limited(images, self._run.reach)
        encoded = self._run.encoders.unseen(images)
        made = self._run.representation
        return codes_lib.pack(made.to_bits(encoded)), made.to_features(encoded)

    def _encode_one(self, seen: np.ndarray) -> Encoded:
        """Encode one network input [S, S, C] as the archive's items were.

        An image of the training set is encoded like the archived one; others over their views.
        """
        if digests.of_input(seen) in self._run.trained_inputs:
            return self._run.encoders.as_is(seen[None])
        return self._run.encoders.unseen(seen[None])

    def warm_up(self) -> None:
        """Load the networks and compile their programs, as the first query does otherwise.

        Raises:
          StageError, ValueError: the networks cannot be loaded.
        """
        side = self._run.config.items.input_px
        self.encode(np.zeros((1, side, side), np.uint8))
        if self._run.segmenter is not None:
            self._run.segmenter(np.zeros((1, *(self._run.item_side_px,) * 2), np.uint8))
        self.search_item(0, k=1)

    # --- queries ----------------------------------------------------------------------------------

    def _kept_scan(self, path: Path, series_uid: str) -> QueryScan:
        """The scan at `path`, read unless it is one of those that are kept."""
        key = (path.absolute(), series_uid, parts.stamp(path))
        with self._scans_lock:
            if key in self._scans:
                self._scans.move_to_end(key)
                return self._scans[key]
        opened = self.open_scan(path, series_uid=series_uid)
        with self._scans_lock:
            self._scans[key] = opened
            while len(self._scans) > OPEN_SCANS:
                self._scans.popitem(last=False)
        return opened

    def _prepare_images(self, stack: ImageStack) -> tuple[QueryInput, str]:
        """Image files as a query, and the scan that they belong to.

        Raises:
          ScanError: as `read_query_images`, or the images are of different scans of the archive.
        """
        own = [self._item_of(path) if self._ready_made else None for path in stack.paths]
        scans = {item.scan: path for item, path in zip(own, stack.paths, strict=True) if item}
        if len(scans) > 1:
            (one, first), (other, second) = [*scans.items()][:2]
            raise ScanError(
                f"{second}: of scan {other}, but {first} is of scan {one}; give the images of one "
                "nodule"
            )
        prepared = query_images.read_query_images(
            stack,
            config=self._run.config,
            root=self._run.data_root,
            planes=self._planes,
            in_archive=None not in own,
        )
        if self._ready_made:
            return prepared, next(iter(scans), "")
        path = stack.paths[0]
        return prepared, self._own_scan(path, dicom.series_uid_of(path))

    def _own_scan(self, path: Path, series_uid: str) -> str:
        """The name that a scan has or would have in the archive.

        Scans may be named by their DICOM series, whatever the folder is called.
        """
        known = self._run.stored.group_number(series_uid) >= 0
        return series_uid if known else _scan_name(path)

    def _item_of(self, path: Path) -> items.Item | None:
        """The item whose image file `path` is."""
        root, here = self._run.data_root, (path.resolve(), path.absolute())
        if root is None:
            return None
        return next((item for item in self._slices if root / item.image in here), None)

    @functools.cached_property
    def _slices(self) -> Sequence[items.Item]:
        """The items of a folder, and the slices that are part of their cubes."""
        root = self._run.data_root
        if root is not None and self._run.config.items.view == "cube":
            return folder.read_folder(root)
        return self._run.items

    def _search_input(
        self, prepared: QueryInput, *, name: str, scan: str, options: SearchOptions
    ) -> Hits:
        run = self._run
        planes, notes = prepared.planes, list(prepared.notes)
        side = planes.shape[-1]
        if self._ready_made and side != run.item_side_px:
            raise ValueError(
                f"{name}: {side} pixels a side, but the archive's images have {run.item_side_px}; "
                "cut it as they were cut"
            )
        segment = run.segmenter if prepared.segmentable else None
        seen = queries.network_input(prepared, run.config.items, segment)
        seen = views.limited(seen, run.reach)
        own_slice = views.own_slices(seen)
        segmented = segment is not None or prepared.mask is not None
        notes += _mask_notes(own_slice, name) if segmented else []
        if views.known_planes(seen).sum() == 1 < views.planes_of(run.channels):
            notes.append(f"{name}: one slice; its neighbours are unknown")
        encoded = self._encode_one(seen)
        query = Query(
            name,
            own_slice,
            int(encoded.fc3[0].argmax()),
            scan,
            notes=tuple(notes),
            properties=self._estimates(encoded),
        )
        return self._search(query, encoded, options)

    def _estimates(self, encoded: Encoded) -> dict[str, float]:
        """The properties of one encoded query, as far as they mean anything."""
        return properties.estimated(
            encoded.properties[0],
            self._run.property_scale,
            has_nodule=int(encoded.fc3[0].argmax()) != self._no_nodule,
        )

    @property
    def _no_nodule(self) -> int:
        """The class of items without a nodule, or -1."""
        return items.no_nodule_class(self.class_names)

    # --- the index --------------------------------------------------------------------------------

    @functools.cached_property
    def _scans_of_items(self) -> np.ndarray:
        """The scan of each archived item, str [N]."""
        return self.records.column("scan")

    @functools.cached_property
    def _ids(self) -> np.ndarray:
        """The ids of the archived items, int32 [N], ascending."""
        return self._run.stored.ids

    @functools.cached_property
    def _codes(self) -> np.ndarray:
        """The codes of the archived items, uint32 [N, W]."""
        return self._run.stored.codes

    @functools.cached_property
    def _labels(self) -> np.ndarray:
        """The class of each archived item, int64 [N]."""
        return self.records.column("label")

    @functools.cached_property
    def _properties(self) -> np.ndarray:
        """The properties of each archived item on the common scale, float32 [P, N]."""
        run = self._run
        return properties.archived(
            self.records,
            run.estimates,
            run.property_scale,
            no_nodule=self._no_nodule,
        )

    def _filtered(self, where: str, *, labelled: bool) -> Index:
        """The index of the items whose records meet a condition; empty: all."""
        stored = self._run.stored
        index = stored.labelled if labelled else stored.index
        return index_lib.keep(index, self.records.where(where)) if where else index

    def _search(self, query: Query, encoded: Encoded, options: SearchOptions) -> Hits:
        made = self._run.representation
        return self._rank(
            query, codes_lib.pack(made.to_bits(encoded)), made.to_features(encoded), options
        )

    def _rank(
        self, query: Query, code: np.ndarray, features: np.ndarray, options: SearchOptions
    ) -> Hits:
        """The hits of one query with code [1, W] and features [1, D]."""
        own = -1 if options.own_scan else self._run.stored.group_number(query.scan)
        if options.weights:
            result = self._find_weighted(query, code, own=own, options=options)
        else:
            result = self._find(code, features, own=own, predicted=query.predicted, options=options)
        ids = [int(i) for i in result.ids[0] if i >= 0]
        scale = self._run.property_scale
        records = self.records.many(ids)
        known = [properties.known(record, scale.names) for record in records]
        hits = tuple(
            Hit(
                rank,
                record,
                int(result.hamming[0, rank - 1]),
                float(result.distance[0, rank - 1]),
                np.asarray(self._run.images[int(record["item"])]),  # type: ignore[arg-type]
                values,
                properties.differences(query.properties, values, scale),
            )
            for rank, (record, values) in enumerate(zip(records, known, strict=True), start=1)
        )
        return Hits(query, hits, int(result.pool_size[0]), int(result.threshold[0]), own >= 0)

    def _find(
        self,
        code: np.ndarray,
        features: np.ndarray,
        *,
        own: int,
        predicted: int,
        options: SearchOptions,
    ) -> Result:
        """The search that `options` describe for one query, code [1, W] and features [1, D]."""
        index = self._filtered(options.where, labelled=options.same_class)
        most = max(1, min(options.k, len(index)))  # beyond, rows would be empty
        visible: dict[str, Any] = {
            "exclude_group": np.array([own]),
            "only_label": np.array([predicted]) if options.same_class else None,
        }

        def nearest(k: int) -> Result:
            if options.rank == "euclidean":
                return search_lib.search(index, code, features, k=k, **_pool(options), **visible)
            found, distance = search_lib.search_hamming(index, code, k=k, **visible)
            unknown = np.full(found.shape, np.nan, np.float32)
            size = (found >= 0).sum(axis=1)
            return Result(found, distance, unknown, size, distance.max(axis=1) + 1)

        return self._distinct(nearest, options.distinct, most)

    def _find_weighted(
        self, query: Query, code: np.ndarray, *, own: int, options: SearchOptions
    ) -> Result:
        """The search by weighted properties for one query with code [1, W].

        Raises:
          ValueError: a property with a weight means nothing for the query.
        """
        scale = self._run.property_scale
        weights = weighted.as_array(options.weights, scale.names)
        missing = [n for n, w in options.weights.items() if w and n not in query.properties]
        if missing:
            raise ValueError(
                f"{query.name}: the network sees no nodule there and does not estimate "
                f"{', '.join(missing)}; search without weights"
            )
        visible = self._scans_of_items != query.scan if own >= 0 else np.ones(len(self), bool)
        if options.same_class:
            visible &= self._labels == query.predicted
        if options.where:
            visible &= np.isin(self._ids, self.records.where(options.where))
        values = properties.standard(query.properties, scale)

        def nearest(k: int) -> Result:
            found = weighted.nearest(self._properties, values, weights, k=k, visible=visible)
            spare = (0, k - len(found.rows))
            bits = np.bitwise_count(self._codes[found.rows] ^ code).sum(axis=1, dtype=np.int32)
            return Result(
                np.pad(self._ids[found.rows], spare, constant_values=-1)[None],
                np.pad(bits, spare, constant_values=-1)[None],
                np.pad(found.distance, spare, constant_values=np.inf)[None],
                np.array([found.eligible], np.int32),
                np.array([self._run.stored.bits + 1], np.int32),
            )

        return self._distinct(nearest, options.distinct, max(1, min(options.k, len(self))))

    def _distinct(self, nearest: Callable[[int], Result], kind: str, k: int) -> Result:
        """The K nearest items, or the K nearest units of a kind (`SearchOptions.distinct`)."""
        if not kind:
            return nearest(k)
        return distinct_lib.search_distinct(nearest, functools.partial(self._units, kind=kind), k=k)

    def _units(self, ids: np.ndarray, kind: str) -> np.ndarray:
        """The scan of each item, or its nodule; an item of none stands for itself."""
        return np.array([unit_name(record, kind) for record in self.records.many(ids.tolist())])


def unit_name(record: Mapping[str, Any], kind: str) -> str:
    """A name for the scan or nodule (`kind`) of the item with a record."""
    itself = f"\n{record['item']}"
    if kind == "scan":
        return record["scan"] or itself
    nodule = items.nodule_name(record["scan"], record.get("patient", ""), record["nodule"])
    return f"{record['scan']}\n{nodule or itself}"


def _pool(options: SearchOptions) -> dict[str, Any]:
    """The arguments of `retrieval.search` that set the pool."""
    if options.nearest:
        return {"nearest": options.nearest}
    return {"threshold": options.threshold, "min_pool": options.min_pool}


def _image_paths(image: object) -> list[Path]:
    """The paths of an image or several; none for anything else."""
    several = image if isinstance(image, list | tuple) else (image,)
    if not all(isinstance(one, str | os.PathLike) for one in several):
        return []
    return [arguments.path_of("image", one) for one in several]


def _scan_names(names: Sequence[str], count: int) -> list[str]:
    """The `exclude_scans` of `count` queries.

    Raises:
      ValueError: not one text for each query.
    """
    if isinstance(names, np.ndarray):
        names = names.tolist()
    listed = isinstance(names, Sequence) and not isinstance(names, str | bytes)
    if not listed or len(names) != count or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"exclude_scans: {reprlib.repr(names)}; must be a list of {count} texts, one per query"
        )
    return list(names)


def _mask_notes(image: np.ndarray, name: str) -> list[str]:
    """What to tell of a query image, uint8 [S, S], whose centre is outside the lung mask."""
    half = len(image) // 2
    if image[half - 1 : half + 2, half - 1 : half + 2].any():
        return []
    share = float((image == 0).mean())
    return [
        f"{name}: the place is outside the lungs ({share:.0%} of the query image is masked), so "
        "results mean little; positions are x, y, z in mm in LPS (from RAS, negate x and y)"
    ]


def _scan_name(path: Path) -> str:
    """The name of a scan by its file or folder."""
    kinds = (".mhd", ".mha", ".nii.gz", ".nii", ".nrrd")
    kind = next((kind for kind in kinds if path.name.endswith(kind)), "")
    return path.name.removesuffix(kind)
