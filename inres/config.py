"""Every knob of an experiment: nested dataclasses, units in names, checked on construction.

A config file returns a `Config` from `get_config()`; flags then set single fields
(`--config.hash.bits=64`). Setting a field does not run the checks, so entry points call
`checked(config)`, which rebuilds the tree and raises `ConfigError` for any impossible value.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from inres import sources
from inres.system.checks import ConfigError as ConfigError
from inres.system.checks import not_negative, one_of, positive, require, share


@dataclasses.dataclass
class Data:
    """Where the images come from."""

    kind: str = "phantom"
    """`phantom` (synthetic scans, written first), `luna16` (a LUNA16 tree) or `folder`."""
    root: str = ""
    """The LUNA16 tree or the folder; for phantoms, empty means `<workdir>/scans`."""
    max_thickness_mm: float = 2.5
    """Scans with thicker slices are excluded (paper, section 4.1); 0 lifts the rule."""
    expect_counts: str = "auto"
    """Check LUNA16's counts (888 scans, 1186 nodules in 601 scans): `auto` warns where they
    differ, `strict` refuses, `off` is silent."""
    lung_masks: str = "threshold"
    """Masks the U-Net learns: `threshold` (-400 HU, paper Fig. 6) or `luna16`
    (`seg-lungs-LUNA16`, labels 3 and 4)."""
    workers: int = 0
    """Processes that make or prepare scans; 0 means one per core."""
    seed: int = 0
    """Of what is drawn for the data: phantoms and normal slices. Apart from `config.seed`, which is
    that of training, so that several seeds of a recipe are tested on the same queries."""

    def __post_init__(self):
        one_of("data.kind", self.kind, sources.names())
        one_of("data.expect_counts", self.expect_counts, ("auto", "strict", "off"))
        one_of("data.lung_masks", self.lung_masks, ("threshold", "luna16"))
        not_negative("data", self, "max_thickness_mm", "workers", "seed")


@dataclasses.dataclass
class Phantom:
    """Synthetic chest CT in LUNA16's layout."""

    scans: int = 50
    nodules_per_scan: float = 8.0
    """Mean number of annotated nodules in a scan."""
    excluded_per_scan: float = 4.0
    """Mean number of excluded findings (calcified specks, scars) in a scan."""
    normal_scans: float = 0.1
    """Share of scans without any nodule."""
    matrix: int = 512
    """Pixels a side of a slice, before resampling."""
    extent_mm: float = 180.0
    """Length of a scan along the body axis."""
    subsets: int = 10
    compress: bool = True
    """Write `.zraw`; else `.raw`."""

    def __post_init__(self):
        positive("phantom", self, "scans", "nodules_per_scan", "matrix", "extent_mm", "subsets")
        not_negative("phantom", self, "excluded_per_scan")
        share("phantom", self, "normal_scans")
        require(self.matrix >= 128, "phantom.matrix", self.matrix, "at least 128 pixels")
        require(self.extent_mm >= 80, "phantom.extent_mm", self.extent_mm, "at least 80 mm")
        require(self.scans >= self.subsets, "phantom.scans", self.scans, "at least phantom.subsets")


@dataclasses.dataclass
class Items:
    """How scans become images: one slice an annotation, and normal slices."""

    spacing_mm: float = 1.0
    """Isotropic voxel side after resampling (paper, section 4.1)."""
    hu_min: float = -1200.0
    hu_max: float = 600.0
    """Window stored in 8 bits."""
    canvas_mm: float = 384.0
    """Side of a stored slice, centred on the lungs; a nodule outside of it is left out."""
    normals: int = 1000
    """Normal slices over all scans (paper, Table 2: 1000)."""
    normal_clearance_mm: float = 8.0
    """Distance along the body axis of a normal slice from any finding's surface."""
    slices_per_nodule: int = 1
    """An odd number. Of a nodule in training up to so many slices are shown, none further from its
    centre than half of its radius; the archive and the queries have its central one."""
    neighbours: int = 0
    """So many slices below and above are further channels of the input. A folder's are those that
    items.csv lists of the same nodule, by z_mm, or in its order where that is unknown; at an end,
    and of an item that has none, the nearest slice is repeated."""
    neighbour_mm: float = 2.0
    """Of scans: distance of neighbours along the body axis."""
    view: str = "crop"
    """`crop` (fixed millimetres round the nodule) or `slice` (the paper's whole slice)."""
    crop_mm: float = 48.0
    segmented: bool = True
    """Set pixels outside the lung mask to the window's floor (paper, Fig. 7)."""
    size_px: int = 64
    """Side of the network's square input."""

    def __post_init__(self):
        not_negative("items", self, "neighbours")
        positive("items", self, "neighbour_mm")
        positive("items", self, "spacing_mm", "canvas_mm", "crop_mm", "size_px")
        not_negative("items", self, "normals", "normal_clearance_mm")
        require(
            self.slices_per_nodule > 0 and self.slices_per_nodule % 2 == 1,
            "items.slices_per_nodule",
            self.slices_per_nodule,
            "odd (the central slice, and as many on each side)",
        )
        require(self.hu_max > self.hu_min, "items.hu_max", self.hu_max, "above items.hu_min")
        one_of("items.view", self.view, ("crop", "slice"))
        require(
            self.spacing_mm <= self.crop_mm <= self.canvas_mm,
            "items.crop_mm",
            self.crop_mm,
            f"from items.spacing_mm = {self.spacing_mm:g} to items.canvas_mm = {self.canvas_mm:g}",
        )

    @property
    def canvas_px(self) -> int:
        """Side of a stored slice in pixels."""
        return round(self.canvas_mm / self.spacing_mm)


@dataclasses.dataclass
class Split:
    """Which items train, validate and test."""

    kind: str = "subset"
    """`subset` (official folds), `patient` (random by patient; where none is known each scan is
    one), `slices` (the paper's random split of slices, which leaks) or `column` (the `split`
    column of items.csv)."""
    test_subsets: tuple[int, ...] = (9,)
    val_subsets: tuple[int, ...] = (8,)
    folds: int = 0
    """For `patient` and `slices`: draw so many subsets, each of about as many items, and
    use them as official ones; 0: draw by the shares below."""
    test_share: float = 0.3
    """For `patient` and `slices` (paper, section 4.2: 0.3)."""
    val_share: float = 0.1
    """Share of the training part kept for validation, where nothing names a validation part."""
    seed: int = 0
    overlap: str = "refuse"
    """A patient, a scan or a near-identical image on two sides: `refuse`, or `drop` the training
    items. Under `slices` overlap is counted instead."""

    def __post_init__(self):
        one_of("split.kind", self.kind, ("subset", "patient", "slices", "column"))
        one_of("split.overlap", self.overlap, ("refuse", "drop"))
        for name in ("test_share", "val_share"):
            value = getattr(self, name)
            require(0 <= value < 1, f"split.{name}", value, "in [0, 1)")
        self.test_subsets = tuple(self.test_subsets)
        self.val_subsets = tuple(self.val_subsets)
        both = set(self.test_subsets) & set(self.val_subsets)
        require(not both, "split.val_subsets", self.val_subsets, "disjoint from test_subsets")
        require(self.folds == 0 or self.folds >= 2, "split.folds", self.folds, "0, or at least 2")
        if self.folds and self.kind in ("patient", "slices"):
            for name in ("test_subsets", "val_subsets"):
                value = getattr(self, name)
                inside = all(0 <= fold < self.folds for fold in value)
                require(inside, f"split.{name}", value, f"of 0..{self.folds - 1} (split.folds)")


@dataclasses.dataclass
class Segment:
    """The U-Net that learns the lung masks (paper, section 3.1)."""

    enabled: bool = True
    width: int = 16
    """Channels of the first level; doubled at each of `depth` poolings."""
    depth: int = 4
    size_px: int = 192
    """Side of the U-Net's input; slices are resized to it and masks back."""
    steps: int = 300
    batch: int = 8
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 1e-4
    dice_weight: float = 1.0
    """Weight of the soft Dice loss beside the cross-entropy."""
    holdout_every: int = 5
    """In a folder of images and masks without items.csv, every n-th pair is held out."""

    def __post_init__(self):
        positive("segment", self, "width", "depth", "size_px", "steps", "batch", "learning_rate")
        not_negative("segment", self, "weight_decay", "dice_weight")
        require(0 <= self.momentum < 1, "segment.momentum", self.momentum, "in [0, 1)")
        require(
            self.size_px % 2**self.depth == 0,
            "segment.size_px",
            self.size_px,
            f"divisible by 2**depth = {2**self.depth}",
        )
        require(self.holdout_every >= 2, "segment.holdout_every", self.holdout_every, "at least 2")


@dataclasses.dataclass
class Model:
    """The network (paper, section 3.2)."""

    name: str = "inres_net"
    """`inres_net` or `alexnet`, the paper's baseline."""
    stem: int = 32
    """Channels after the stem; the paper's width is 64."""
    stem_kernel: int = 3
    stem_stride: int = 2
    stem_pool: bool = False
    """Max-pool after the stem, as the paper's width has it at 224 x 224."""
    fc1: int = 256
    """Width of FC1; the paper's is 4096."""
    pooling: str = "average"
    """Before FC1: `average` over the map, or `flatten` (the paper's)."""
    compression: str = "inv2"
    """Before each residual module: `inv2`, or `plain`, one 3x3 convolution at stride 2."""
    residual: str = "inred"
    """`inred`, or `plain`, one 3x3 convolution."""
    residual_scale: float = 1.0
    dropout: float = 0.0
    """Before and after FC1."""
    norm: str = "batch"
    """After each convolution: `batch`, `group` (for batches of a few images) or `none`."""

    def __post_init__(self):
        one_of("model.name", self.name, ("inres_net", "alexnet"))
        one_of("model.pooling", self.pooling, ("average", "flatten"))
        one_of("model.compression", self.compression, ("inv2", "plain"))
        one_of("model.residual", self.residual, ("inred", "plain"))
        one_of("model.norm", self.norm, ("batch", "group", "none"))
        positive("model", self, "stem", "stem_kernel", "stem_stride", "fc1", "residual_scale")
        require(self.stem % 4 == 0, "model.stem", self.stem, "divisible by 4 (inV2 splits it)")
        require(0 <= self.dropout < 1, "model.dropout", self.dropout, "in [0, 1)")


@dataclasses.dataclass
class Hash:
    """The latent layer H (paper, section 3.3)."""

    bits: int = 48
    batch_norm: bool = False
    """Batch norm before the sigmoid; the loss `orthohash` has it always."""
    code: str = "rotated"
    """From H to bits: `latent`, H at 0.5 (paper, Eq. 1), or `rotated`, H and FC1 about their mean
    over the training items, turned by iterative quantization, at 0. Needs no training anew."""
    fc1_weight: float = 0.5
    """Of `rotated`: the spread of FC1 as a share of that of H; 0: H alone is turned."""
    views_weight: float = 0.5
    """An image that the network was not trained on, as a query is, is seen as it is and in every
    mirrored and turned view of `train.flips` and `train.quarter_turns`, a stack of neighbours also
    from its other end (which training does not show; without augmentation there are no views):
    this is the share of the mean over all views in its FC1, H and FC3; 0: it is seen as it is.
    Needs no training anew."""

    def __post_init__(self):
        one_of("hash.code", self.code, ("latent", "rotated"))
        not_negative("hash", self, "fc1_weight")
        share("hash", self, "views_weight")
        require(1 <= self.bits <= 1024, "hash.bits", self.bits, "between 1 and 1024")


LOSSES = (
    "nll",
    "paper",
    "dpsh",
    "dtsh",
    "hashnet",
    "greedyhash",
    "csq",
    "orthohash",
    "ordinal",
)


@dataclasses.dataclass
class Loss:
    """`weight` times the loss of the codes that `name` says, plus `classification` times FC3's NLL,
    plus `fine` times the loss of FC1's neighbours.

    The fields that begin with a loss's name are its own (formulas in
    `inres.learning.losses.hash_losses`).
    """

    name: str = "ordinal"
    """`nll` (FC3's alone, section 3.4), `paper` (with the terms of section 2.3), of pairs and
    triplets `dpsh`, `hashnet`, `dtsh`, by classification `greedyhash` and `orthohash`, to target
    codes `csq` and `ordinal`, whose codes differ the more, the more sizes do; of two classes or
    fewer none is ordered, and `ordinal` is `nll`."""
    weight: float = 3.0
    classification: float = 1.0
    """Classification, softmax ranking and accuracy need it above 0, also beside other losses."""
    fine: float = 1.0
    """Of the loss that gathers classes in FC1, by which the fine stage ranks
    (`losses.neighbourhood`)."""
    fine_spread: float = 0.25
    """Within a class, items are to gather the less, the more their diameters differ: to 1/e at a
    ratio of e^`fine_spread`; 0: the class is all."""
    fine_across: float = 0.0
    """Beside that, kinship of size classes side by side; of those two apart its square. 0: other
    classes are not to gather."""
    logit_adjustment: float = 0.0
    """Log share of each class among the draws, times this, is added to its logit in FC3's NLL, and
    taken from its items as neighbours in FC1, while training: rare classes then count as much as
    frequent ones, as in macro measures (Menon et al. 2021, "Long-tail learning via logit
    adjustment", Eq. 10). 0: what is drawn more often is also predicted more often."""
    label_smoothing: float = 0.0
    """Of FC3's NLL."""
    neighbour_smoothing: float = 0.0
    """Of FC3's NLL: share of the target that goes to the size classes beside the true one."""
    paper_quantization: float = 1.0
    paper_balance: float = 1.0
    paper_independence: float = 1.0
    dpsh_quantization: float = 0.1
    hashnet_alpha: float = 0.1
    hashnet_beta: float = 10.0
    """tanh(beta u) stands for the code; beta grows from 1 to this."""
    dtsh_margin: float = 0.5
    """As a share of the bits."""
    dtsh_quantization: float = 0.1
    greedyhash_penalty: float = 0.1
    csq_quantization: float = 1e-4
    orthohash_scale: float = 8.0
    orthohash_margin: float = 0.3
    ordinal_diameter: float = 0.5
    """How far a known diameter moves the target code from the middle of its class: 0 not at all, 1
    to where its diameter stands among those of its class."""

    def __post_init__(self):
        one_of("loss.name", self.name, LOSSES)
        weights = [f.name for f in dataclasses.fields(self) if f.name != "name"]
        not_negative("loss", self, *weights)
        share(
            "loss",
            self,
            "label_smoothing",
            "neighbour_smoothing",
            "fine_across",
            "ordinal_diameter",
            "orthohash_margin",
        )
        positive("loss", self, "orthohash_scale", "hashnet_alpha")
        require(self.hashnet_beta >= 1, "loss.hashnet_beta", self.hashnet_beta, "at least 1")
        by_nll = ("nll", "paper", "ordinal")  # `ordinal` is `nll` where nothing is ordered
        used = "classification" if self.name in by_nll else "weight"
        positive("loss", self, used)


@dataclasses.dataclass
class Train:
    """The recipe. Defaults are the `modern` one; `paper.py` has section 3.4's."""

    epochs: int = 60
    batch: int = 64
    learning_rate: float = 0.05
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 1e-3
    clip_norm: float = 0.0
    """A longer gradient (L2, over all parameters) is scaled down to this; 0: none is. The first
    ones are the longest, by far where batches are small."""
    schedule: str = "cosine"
    """`cosine` to zero after a linear warm-up, or `constant`."""
    warmup_epochs: float = 1.0
    init: str = "he"
    """`he` (fan-in normal) or `gaussian` (N(0, 0.01), FC2 as random projections)."""
    balance_power: float = 0.5
    """Items are drawn by class frequency to the power of minus this; 0: as they come."""
    ema: float = 0.0
    """Decay of the weight average that is evaluated; 0 leaves it out."""
    flips: bool = True
    quarter_turns: bool = True
    shift_px: int = 3
    brightness: float = 0.0
    """Largest shift of the image's values, as a share of the window. HU are calibrated, so this
    and the next two are off by default."""
    contrast: float = 0.0
    noise: float = 0.0
    """Standard deviation of added noise, as a share of the window."""
    neighbour_dropout: float = 0.5
    """Share of images whose neighbours (`items.neighbours`) are left out, at every step: the slice
    itself stands for them, as for a lone image that is searched for."""
    clean_share: float = 0.6
    """Share of the steps, at the end, without augmentation: the archive's images, most of which
    train, are then fitted as they will be stored."""
    checkpoint_every: int = 1
    """Epochs between checkpoints."""
    eval_every: int = 1
    """Epochs between looks at the validation part."""
    keep: str = "last"
    """The weights that are used: the `last`, or those that were `best` on the validation part,
    which no test query shares."""
    monitor: str = "map_macro"
    """What `best` means: `map_macro` (by Hamming distance of `latent` codes) or `accuracy`."""
    patience: int = 0
    """With `best`: epochs without a better look after which training stops; 0: never."""

    def __post_init__(self):
        positive(
            "train", self, "epochs", "batch", "learning_rate", "checkpoint_every", "eval_every"
        )
        not_negative("train", self, "weight_decay", "warmup_epochs", "balance_power")
        require(0 <= self.momentum < 1, "train.momentum", self.momentum, "in [0, 1)")
        require(self.batch >= 2, "train.batch", self.batch, "2 or more, as losses look at pairs")
        require(
            self.schedule == "constant" or self.warmup_epochs <= self.epochs,
            "train.warmup_epochs",
            self.warmup_epochs,
            f"no more than train.epochs = {self.epochs} where train.schedule is 'cosine'",
        )
        not_negative("train", self, "clip_norm", "shift_px", "brightness", "contrast", "noise")
        share("train", self, "neighbour_dropout", "clean_share")
        one_of("train.schedule", self.schedule, ("cosine", "constant"))
        one_of("train.keep", self.keep, ("last", "best"))
        one_of("train.monitor", self.monitor, ("map_macro", "accuracy"))
        not_negative("train", self, "patience")
        require(
            self.keep == "best" or not self.patience,
            "train.patience",
            self.patience,
            "0 where train.keep is 'last'",
        )
        one_of("train.init", self.init, ("he", "gaussian"))
        require(0 <= self.ema < 1, "train.ema", self.ema, "in [0, 1)")


@dataclasses.dataclass
class Search:
    """The two stages (paper, section 3.3)."""

    threshold: int = 3
    """Candidates have a Hamming distance below this many bits."""
    k: int = 10
    features: str = "fc1"
    """Ranked by `fc1` (section 3.3) or `fc1_fc3` (Fig. 8)."""
    rank: str = "euclidean"
    """Of `experiments.search`, as all below: the pool by `euclidean` distance, or all items by
    `hamming` distance alone."""
    min_pool: int = 0
    """Raise the threshold of a query whose pool is smaller, until it is not."""
    nearest: int = 0
    """The pool is so many nearest codes, whatever the threshold; 0: the threshold's pool."""
    same_class: bool = False
    """Only items of the class that FC3 predicts for the query (section 4.2)."""
    distinct: str = ""
    """Show each `nodule` or each `scan` once, by its nearest slice; empty: every slice."""
    where: str = ""
    """Only items whose records meet this SQL condition, as in
    `diameter_mm BETWEEN 5 AND 8 AND malignancy >= 4` or `scan <> '1.3.6.1'`."""

    def __post_init__(self):
        positive("search", self, "threshold", "k")
        not_negative("search", self, "min_pool", "nearest")
        one_of("search.features", self.features, ("fc1", "fc1_fc3"))
        one_of("search.rank", self.rank, ("euclidean", "hamming"))
        one_of("search.distinct", self.distinct, ("", "nodule", "scan"))
        require(
            not (self.nearest and self.min_pool),
            "search.min_pool",
            self.min_pool,
            "0 where search.nearest sets the pool",
        )


@dataclasses.dataclass
class Config:
    """One experiment."""

    name: str = "phantom"
    seed: int = 0
    """Of training: initial weights, order of the items, augmentation, dropout."""
    pdf: bool = True
    """Draw figures as PDF too, with the fonts that journals ask for; that takes as long as all else
    of a small evaluation."""
    data: Data = dataclasses.field(default_factory=Data)
    phantom: Phantom = dataclasses.field(default_factory=Phantom)
    items: Items = dataclasses.field(default_factory=Items)
    split: Split = dataclasses.field(default_factory=Split)
    segment: Segment = dataclasses.field(default_factory=Segment)
    model: Model = dataclasses.field(default_factory=Model)
    hash: Hash = dataclasses.field(default_factory=Hash)
    loss: Loss = dataclasses.field(default_factory=Loss)
    train: Train = dataclasses.field(default_factory=Train)
    search: Search = dataclasses.field(default_factory=Search)

    def __post_init__(self):
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        by_accuracy = self.train.keep == "best" and self.train.monitor == "accuracy"
        taught = self.loss.classification > 0 or self.loss.name == "greedyhash"
        require(
            taught or not by_accuracy,
            "train.monitor",
            self.train.monitor,
            "map_macro where FC3 learns nothing (loss.classification = 0)",
        )


def to_dict(config: Config) -> dict[str, Any]:
    """The config as nested plain dicts, as written to `config.json`."""
    return dataclasses.asdict(config)


def from_dict(values: Mapping[str, Any]) -> Config:
    """The inverse of `to_dict`, with all checks.

    Raises:
      ConfigError: a section or field is unknown, or a value is impossible.
    """
    parts: dict[str, Any] = {}
    for field in dataclasses.fields(Config):
        if field.name not in values:
            continue
        value = values[field.name]
        if dataclasses.is_dataclass(field.type):
            known = {f.name for f in dataclasses.fields(field.type)}
            unknown = sorted(set(value) - known)
            require(not unknown, field.name, unknown, f"among {sorted(known)}")
            value = field.type(**value)  # type: ignore[operator]
        parts[field.name] = value
    unknown = sorted(set(values) - {f.name for f in dataclasses.fields(Config)})
    require(not unknown, "", unknown, "known sections")
    return Config(**parts)


def checked(config: Config) -> Config:
    """A fresh copy of `config`, every field checked anew (flags set fields unchecked)."""
    return from_dict(to_dict(config))
