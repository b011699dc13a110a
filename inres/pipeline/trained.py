"""Everything that a search needs of a finished run, from its workdir or from an exported folder."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inres.config import Config
from inres.data import identity, items, views
from inres.data.identity import Identity
from inres.data.item_store import ItemStore
from inres.data.properties import PropertyScale
from inres.encoding.binarize import FineScale
from inres.encoding.encoded import Encoded
from inres.encoding.linear_codes import Hyperplanes
from inres.encoding.representation import Representation
from inres.encoding.variables import fingerprint
from inres.pipeline import added, artifacts, digests, stages, workdir
from inres.pipeline.prepare import data_root
from inres.storage import store as storage
from inres.system.lazy import Lazy
from inres.system.loading import loaded_once

if TYPE_CHECKING:
    from inres.encoding.in_batches import Encoders, Segmenter
    from inres.pipeline import networks
    from inres.pipeline.networks import Network
else:
    networks = Lazy("inres.pipeline.networks")  # imports JAX, which most queries do not need


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A finished run, opened.

    Networks and item table are read when they are first used, and images and layers are
    memory-mapped, so that opening takes as long for a million items as for a few.
    """

    root: Path
    config: Config
    class_names: tuple[str, ...]
    load_items: Callable[[], tuple[items.Item, ...]]
    images: np.ndarray | added.Images
    """uint8 [N, S, S], memory-mapped: each item's own slice as the network sees it. The N items
    are all of the run, also those that are not in the archive, then those added to it."""
    channels: int
    """Of a network input: the planes of an item and what is known of them (`views.with_known`)."""
    reach: int
    """How many planes on each side of the middle one the network may see of a query."""
    item_side_px: int
    """Side of an image in the archive's item format."""
    layers: tuple[Encoded, ...]
    """The layers of the network for the N items: of the run, then of each addition."""
    property_scale: PropertyScale
    """The properties that the network estimates."""
    hyperplanes: Hyperplanes | None
    scale: FineScale
    stored: storage.Stored
    """The archive: codes, features and records of the items that can be found."""
    load_digests: Callable[[], frozenset[bytes]]
    data_root: Path | None
    """The folder of the scans or images, if it is known on this machine."""
    load_network: "Callable[[], Network]"
    load_segmenter: "Callable[[], Segmenter | None]"
    load_scans: Callable[[], tuple[Identity, ...]] = tuple
    """What the scans of the items are known by, as far as it is recorded."""
    open_store: Callable[[], ItemStore | None] = lambda: None
    """Opens the store of the run's own items; None where it is not there, as in an export."""
    load_encoders: "Callable[[], Encoders] | None" = None
    """Loads programs in place of the network; None where there is the network."""
    own: "TrainedRun | None" = None
    """The run without the items that were added to it; None if there are none."""

    def __len__(self) -> int:
        """N."""
        return len(self.images)

    @loaded_once
    def items(self) -> tuple[items.Item, ...]:
        """The N items.

        Raises:
          ValueError: the item table is damaged, or has another number of items.
        """
        found = self.load_items()
        if len(found) != len(self):
            raise ValueError(
                f"{self.root}: {len(found)} items in the item table, but {len(self)} images; copy "
                "or make the run again"
            )
        return found

    def encoded(self, item: int) -> Encoded:
        """The layers of the network for one item, arrays [1, ...]."""
        row = item
        for part in self.layers:
            if row < len(part):
                return part.rows(np.array([row]))
            row -= len(part)
        raise IndexError(item)

    @property
    def estimates(self) -> np.ndarray:
        """The network's estimates of the properties of the N items (`Encoded.properties`)."""
        return np.concatenate([part.properties for part in self.layers])

    @loaded_once
    def trained_inputs(self) -> frozenset[bytes]:
        """Digests of the network inputs in training (`pipeline.digests`)."""
        return self.load_digests()

    @loaded_once
    def network(self) -> "Network":
        """The trained network, which must be the one that made the archive.

        Raises:
          StageError: it is another one.
        """
        model, variables = self.load_network()
        require_network_of(self.stored, variables, self.hyperplanes, self.root)
        return model, variables

    @loaded_once
    def encoders(self) -> "Encoders":
        """The encoders of the trained network.

        Raises:
          StageError: as of `network`.
        """
        if self.load_encoders is not None:
            return self.load_encoders()
        return networks.encoders(self.config, *self.network, channels=self.channels)

    @functools.cached_property
    def representation(self) -> Representation:
        """How outputs of the network become codes and features."""
        return artifacts.representation(
            self.config, self.scale, self.property_scale, self.class_names, self.hyperplanes
        )

    @loaded_once
    def segmenter(self) -> "Segmenter | None":
        """The trained U-Net; None where the archive's lungs are not from a U-Net."""
        return self.load_segmenter()


def require_network_of(
    stored: storage.Stored,
    variables: Mapping[str, Any],
    hyperplanes: Hyperplanes | None,
    root: Path,
) -> None:
    """Check that an archive was made by the network of `root`.

    Raises:
      StageError: it was made by another one.
    """
    if fingerprint(variables, hyperplanes) != stored.model:
        raise stages.StageError(
            f"{stored.path}: the archive was made by another network than that of {root}; run the "
            "index stage again"
        )


def open_workdir(root: Path) -> TrainedRun:
    """Open the finished run in a workdir.

    Raises:
      FileNotFoundError, StageError: it is not there or not finished; names what is missing.
      ValueError: a file is damaged.
    """
    config = workdir.read_config(root)
    workdir.require_same_config(root, config)
    stages.require_consistent(root, stages.STAGES[:-1])  # a search needs no evaluation
    for stage in ("prepare", "split", "segment", "train", "index"):
        stages.done(root, stage)
    inputs = artifacts.network_inputs(root / "train")
    index = root / "index"
    class_names, item_side_px = artifacts.load_kind(index)

    def load_network() -> "Network":
        return networks.load_network(
            config, root / "train", classes=len(class_names), channels=inputs.shape[-1]
        )

    own = TrainedRun(
        root=root,
        config=config,
        class_names=class_names,
        load_items=lambda: artifacts.open_items(root).items,
        images=views.own_slices(inputs),
        channels=inputs.shape[-1],
        reach=artifacts.load_reach(root / "train"),
        item_side_px=item_side_px,
        layers=(artifacts.load_embeddings(index),),
        property_scale=artifacts.load_property_scale(root / "train"),
        hyperplanes=artifacts.load_hyperplanes(config, index),
        scale=artifacts.load_scale(index),
        stored=storage.load(index / "archive"),
        load_digests=lambda: digests.read(index / "trained.npy"),
        data_root=data_root(config, root),
        load_network=load_network,
        load_segmenter=lambda: networks.load_segmenter(config, root),
        load_scans=lambda: identity.read([root / "prepare" / "scans.csv"]),
        open_store=lambda: artifacts.open_items(root),
    )
    return with_added(own)


def with_added(own: TrainedRun) -> TrainedRun:
    """A run with the items that were added to its archive.

    Of an addition, the item table is compared with its checksum when it is read, the rest by
    `experiments.verify`.

    Raises:
      AddedError, ValueError: an addition is damaged or missing.
    """
    segments = added.segments(own.stored.path)
    if not segments:
        return own
    if segments[0].first_item != len(own):
        raise added.AddedError(
            f"{segments[0].root}: not of this run, which has {len(own)} items of its own; "
            f"{added.AGAIN}"
        )
    return dataclasses.replace(
        own,
        own=own,
        load_items=lambda: (
            *own.items,
            *(item for one in segments for item in added.read_items(one)),
        ),
        images=added.Images([np.asarray(own.images), *map(added.read_images, segments)]),
        layers=(*own.layers, *map(added.read_embeddings, segments)),
        load_scans=lambda: (
            *own.load_scans(),
            *identity.read(one.root / "scans.csv" for one in segments),
        ),
    )


_LOADED = ("network", "encoders", "segmenter", "trained_inputs", "representation")
"""What takes long to load, and does not depend on the items of the archive."""


def renewed(run: TrainedRun) -> TrainedRun:
    """A run with its archive as it is on disk now; what was loaded of the networks stays.

    Raises:
      StageError: the archive was made again, by another network or of other items.
      AddedError, StoreError, ValueError: the archive or an addition is damaged or missing.
      FileNotFoundError: there is no archive any more.
    """
    own = run.own or run
    stored = storage.load(own.stored.path)
    if stored.model != own.stored.model:
        raise stages.StageError(
            f"{stored.path}: the archive was made again by another network; open the run again"
        )
    found = with_added(dataclasses.replace(own, stored=stored))
    last = stored.records[int(stored.ids[-1])]["item"] if len(stored) else 0
    if not isinstance(last, int) or last >= len(found):
        raise stages.StageError(
            f"{stored.path}: the archive was made again with other items; open the run again"
        )
    found.__dict__.update({name: run.__dict__[name] for name in _LOADED if name in run.__dict__})
    return found
