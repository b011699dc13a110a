"""All settings of an experiment: nested dataclasses with units in names and checked values.

A config file returns a `Config` from `get_config()`. The command line then sets single fields, as
in `hash.bits`. Setting a field does not run the checks, so programs call `checked(config)`, which
rebuilds the config and raises `ConfigError` for impossible values.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from inres import sources
from inres.learning import loss_settings, losses
from inres.models import networks
from inres.system.checks import ConfigError as ConfigError
from inres.system.checks import not_negative, one_of, positive, registered, require, share


@dataclasses.dataclass
class Data:
    """Where scans or images come from."""

    kind: str = "phantom"
    """A source of `inres.sources`: `phantom` (synthetic scans, written first), `luna16` (a LUNA16
    tree), `lidc` (the LIDC-IDRI download), `folder` (images with items.csv), `cases` (any scans,
    listed in cases.csv), `tianchi`, `lndb`, `luna25`, `dsb2017`, or one that the config file
    registers."""
    root: str = ""
    """Folder of the data, or for `cases` its table; for phantoms, empty means `<workdir>/scans`."""
    max_thickness_mm: float = 2.5
    """Scans with thicker slices are excluded (paper, section 4.1); 0 keeps all."""
    expect_counts: str = "auto"
    """If counts differ from the complete LUNA16 (888 scans, 1186 nodules in 601 scans): `auto`
    prints a message, `strict` is an error, `off` ignores it."""
    kernel: str = ""
    """A text that ConvolutionKernel or SeriesDescription of a DICOM series must contain, in any
    case, where a folder holds several reconstructions; empty: the rules of `inres.ct.dicom`."""
    lung_masks: str = "threshold"
    """Lung masks, which the U-Net learns: `threshold` (-400 HU; paper, Fig. 6) or `luna16`
    (`seg-lungs-LUNA16`, labels 3 and 4)."""
    min_readers: int = 3
    """For `lidc`: least number of readers who marked a nodule, as in LUNA16."""
    min_diameter_mm: float = 3.0
    """For `lidc`: least mean diameter of a nodule."""
    workers: int = 0
    """Number of processes for making or preparing scans; 0 means one per core."""
    scheduler: str = ""
    """Address of a Dask scheduler whose workers prepare the scans, as in `tcp://host:8786`; empty:
    processes on this machine."""
    seed: int = 0
    """Seed for phantoms and for sampling normal slices. Independent of `config.seed`, so that
    trainings with different seeds are tested on the same queries."""

    def __post_init__(self) -> None:
        registered("data.kind", self.kind, sources.names())
        one_of("data.expect_counts", self.expect_counts, ("auto", "strict", "off"))
        one_of("data.lung_masks", self.lung_masks, ("threshold", "luna16"))
        positive("data", self, "min_readers")
        not_negative("data", self, "max_thickness_mm", "min_diameter_mm", "workers", "seed")


@dataclasses.dataclass
class Phantom:
    """Synthetic chest CT in LUNA16's layout.

    Names and contents of the scans depend on every field: adding or removing one here changes all
    phantoms.
    """

    scans: int = 50
    """Number of scans."""
    nodules_per_scan: float = 8.0
    """Mean number of annotated nodules per scan."""
    excluded_per_scan: float = 4.0
    """Mean number of excluded findings (calcified specks, scars) per scan."""
    normal_scans: float = 0.1
    """Share of scans without nodules."""
    matrix: int = 512
    """Side of a slice in pixels, before resampling."""
    extent_mm: float = 180.0
    """Length of a scan along the body axis."""
    subsets: int = 10
    """Number of folds."""
    compress: bool = True
    """Write compressed `.zraw` files instead of `.raw`."""

    def __post_init__(self) -> None:
        positive("phantom", self, "scans", "nodules_per_scan", "matrix", "extent_mm", "subsets")
        not_negative("phantom", self, "excluded_per_scan")
        share("phantom", self, "normal_scans")
        require(self.matrix >= 128, "phantom.matrix", self.matrix, "at least 128 pixels")
        require(self.extent_mm >= 80, "phantom.extent_mm", self.extent_mm, "at least 80 mm")
        require(self.scans >= self.subsets, "phantom.scans", self.scans, "at least phantom.subsets")


@dataclasses.dataclass
class Items:
    """How scans become images: slices of nodules, and normal slices."""

    spacing_mm: float = 1.0
    """Side of the cubic voxels after resampling (paper, section 4.1)."""
    hu_min: float = -1200.0
    """Lower end of the window that is stored in 8 bits."""
    hu_max: float = 600.0
    """Upper end of the window."""
    canvas_mm: float = 384.0
    """Side of a stored slice, centred on the lungs; nodules outside it are left out."""
    normals: int = 1000
    """Number of normal slices over all scans (paper, Table 2: 1000)."""
    places_per_scan: int = 8
    """Items per scan in which nothing is marked, as where only the scan has a label (DSB 2017):
    places spread evenly through the lungs."""
    label: str = "auto"
    """What items are labelled by: `size` (paper, Table 2), any column of findings, scans or
    items.csv, such as a rating, which is rounded, or the label of the scan; `auto`: the size for
    items cut from scans, the column `label` of a folder."""
    normal_clearance_mm: float = 8.0
    """Least distance along the body axis between a normal slice and the surface of any finding."""
    normal_inside_mm: float = 0.0
    """Distance from the ends of a scan, and along each axis from all findings, at which normal
    places are preferred, at least as far as an item's `neighbours` or its cube reach. Runs that
    differ in those have the same normal places, and can be compared, if this is the largest of
    these distances; an ablation sees to it."""
    slices_per_nodule: int = 1
    """Of scans: maximum number of training slices per nodule (odd), all within half a radius of its
    centre. The archive and the queries contain the central slice only."""
    unit: str = "auto"
    """What an item of a folder is: a `slice`, or a `nodule`, that is, its central slice and the
    `neighbours` of that; `auto`: a nodule where z_mm is known."""
    neighbours: int = 0
    """Number of slices below, and of slices above, that the network sees in addition. In a folder
    they are the same nodule's other slices, ordered by z_mm, or as in items.csv where that is
    unknown. Slices that do not exist are masked, and the network sees the mask."""
    neighbour_mm: float = 2.0
    """Distance between neighbours along the body axis, for scans."""
    view: str = "crop"
    """`crop` (fixed size in mm around the nodule), `slice` (the whole slice, as in the paper) or
    `cube`: a cube of voxels around the nodule, in place of neighbours. In a folder, a cube is made
    of all slices of a nodule, which is one item then."""
    crop_mm: float = 48.0
    """Side of a crop; for cubes of a folder, the width of its images."""
    cube_mm: float = 32.0
    """Side of a cube; in a folder at most `crop_mm`."""
    cube_px: int = 31
    """Side of a cube in voxels, odd, so that its central plane is the nodule's own slice."""
    slice_mm: float = 0.0
    """Distance of the slices of a nodule in a folder, ordered as in items.csv, where z_mm is
    unknown; for cubes. 0: unknown."""
    segmented: bool = True
    """Set pixels outside the lung mask to the lower end of the window (paper, Fig. 7)."""
    size_px: int = 64
    """Side of the network's square input."""

    def __post_init__(self) -> None:
        not_negative("items", self, "neighbours")
        positive("items", self, "neighbour_mm", "places_per_scan")
        require(bool(self.label), "items.label", self.label, "auto, size or a column")
        positive("items", self, "spacing_mm", "canvas_mm", "crop_mm", "size_px", "cube_mm")
        not_negative("items", self, "normals", "normal_clearance_mm", "slice_mm")
        not_negative("items", self, "normal_inside_mm")
        require(
            self.slices_per_nodule > 0 and self.slices_per_nodule % 2 == 1,
            "items.slices_per_nodule",
            self.slices_per_nodule,
            "an odd number (the central slice, and as many on either side)",
        )
        require(self.hu_max > self.hu_min, "items.hu_max", self.hu_max, "above items.hu_min")
        one_of("items.view", self.view, ("crop", "slice", "cube"))
        one_of("items.unit", self.unit, ("auto", "slice", "nodule"))
        require(
            self.cube_px >= 9 and self.cube_px % 2 == 1,
            "items.cube_px",
            self.cube_px,
            "an odd number of 9 or more",
        )
        if self.view == "cube":
            self._require_one_cube_per_nodule()
        require(
            self.spacing_mm <= self.crop_mm <= self.canvas_mm,
            "items.crop_mm",
            self.crop_mm,
            f"from items.spacing_mm = {self.spacing_mm:g} to items.canvas_mm = {self.canvas_mm:g}",
        )

    def _require_one_cube_per_nodule(self) -> None:
        """Refuse fields that describe further slices, which are part of the cube."""
        for name, value, needed in (
            ("neighbours", self.neighbours, 0),
            ("slices_per_nodule", self.slices_per_nodule, 1),
        ):
            field = f"items.{name}"
            require(value == needed, field, value, f"{needed} where items.view is 'cube'")
        require(
            self.unit != "slice", "items.unit", self.unit, "auto or nodule where the view is 'cube'"
        )

    @property
    def input_px(self) -> int:
        """Side of the network's input."""
        return self.cube_px if self.view == "cube" else self.size_px

    @property
    def shown_mm(self) -> float:
        """How far along the body axis an item shows its scan, on each side."""
        return self.cube_mm / 2 if self.view == "cube" else self.neighbours * self.neighbour_mm

    @property
    def canvas_px(self) -> int:
        """Side of a stored slice in pixels."""
        return round(self.canvas_mm / self.spacing_mm)


@dataclasses.dataclass
class Split:
    """Which items are for training, validation and testing."""

    kind: str = "subset"
    """`subset` (official folds), `patient` (random by patient, or by scan where no patient is
    known), `slices` (the paper's random split of slices, which leaks) or `column` (the `split`
    column of items.csv)."""
    test_subsets: tuple[int, ...] = (9,)
    """Subsets for testing, for `subset` and with `folds`."""
    val_subsets: tuple[int, ...] = (8,)
    """Subsets for validation."""
    folds: int = 0
    """Number of random subsets of about equal size to draw for `patient` and `slices`, used like
    official ones; 0 draws by the shares below."""
    test_share: float = 0.3
    """Share of test items for `patient` and `slices` (paper, section 4.2: 0.3)."""
    val_share: float = 0.1
    """Share of the training items kept for validation where nothing else names any."""
    seed: int = 0
    """Seed of the random splits."""
    overlap: str = "refuse"
    """If a patient, a scan or a near-identical image is on two sides: `refuse`, or `drop` it from
    the earlier side. With `slices` overlaps are only counted."""

    def __post_init__(self) -> None:
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
    """Channels of the first level; they double at each of the `depth` poolings."""
    depth: int = 4
    """Number of poolings."""
    size_px: int = 192
    """Side of the U-Net's input. Slices are resized to it, and masks back."""
    steps: int = 300
    """Number of training steps."""
    batch: int = 8
    """Slices per step."""
    learning_rate: float = 0.05
    """Highest learning rate: it falls to zero by a cosine after a warm-up of steps / 20."""
    momentum: float = 0.9
    weight_decay: float = 1e-4
    dice_weight: float = 1.0
    """Weight of the soft Dice loss, which is added to the cross-entropy."""
    holdout_every: int = 5
    """In a folder of images and masks without items.csv, every n-th pair is held out."""

    def __post_init__(self) -> None:
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
    """A file of `inres/models/networks`: `inres_net`; `alexnet`, the paper's baseline; or
    `inres_net_3d`, for cubes."""
    planes: str = "channels"
    """How the network sees the planes of an item: `channels`, all together as channels of one
    image; `each` by itself, their FC1 averaged before H; or, of a cube, `three` planes through its
    centre (axial, coronal, sagittal) or `nine` (also the six diagonal ones), like `each`."""
    stem: int = 32
    """Channels after the stem; 64 in the paper."""
    stem_kernel: int = 3
    """Side of the stem's convolution; 7 in the paper."""
    stem_stride: int = 2
    stem_pool: bool = False
    """Max-pooling after the stem, as in the paper at 224 x 224."""
    fc1: int = 256
    """Width of FC1; 4096 in the paper."""
    pooling: str = "average"
    """Before FC1: `average` over the map, or `flatten` as in the paper."""
    compression: str = "inv2"
    """Before each residual module: `inv2`, or `plain`, one 3x3 convolution with stride 2."""
    residual: str = "inred"
    """Residual module: `inred`, or `plain`, one 3x3 convolution."""
    residual_scale: float = 1.0
    """Factor of the residual before it is added to its input."""
    dropout: float = 0.0
    """Before and after FC1."""
    norm: str = "batch"
    """After each convolution: `batch`, `group` (for small batches) or `none`."""

    def __post_init__(self) -> None:
        registered("model.name", self.name, networks.names())
        one_of("model.planes", self.planes, ("channels", "each", "three", "nine"))
        one_of("model.pooling", self.pooling, ("average", "flatten"))
        one_of("model.compression", self.compression, ("inv2", "plain"))
        one_of("model.residual", self.residual, ("inred", "plain"))
        one_of("model.norm", self.norm, ("batch", "group", "none"))
        positive("model", self, "stem", "stem_kernel", "stem_stride", "fc1", "residual_scale")
        require(self.stem % 4 == 0, "model.stem", self.stem, "divisible by 4 (inV2 splits it)")
        require(0 <= self.dropout < 1, "model.dropout", self.dropout, "in [0, 1)")


@dataclasses.dataclass
class Hash:
    """The latent layer H (paper, section 3.3) and the codes computed from it."""

    bits: int = 48
    """Length of the codes; not given in the paper."""
    code: str = "joined"
    """How outputs become bits: `latent`, H thresholded at 0.5 (paper, Eq. 1); `rotated`, H and FC1
    centred on the training items, rotated by iterative quantization and thresholded at 0; or
    `joined`, the same with the `joined` features of `search.features` instead. Changing it needs no
    new training."""
    records: bool = True
    """Derive the joined codes and features of the archive's items from the classes and properties
    in their records, where known, instead of the network's estimates. Queries are derived from
    their images alone."""
    fc1_weight: float = 0.5
    """For `rotated`: standard deviation of FC1 relative to that of H; 0: H alone."""
    views_weight: float = 0.5
    """Weight, from 0 to 1, of the mean over all views in the FC1, H and FC3 of an image that the
    network was not trained on, such as a query; the rest is the image as it is. The views are those
    of `train.flips` and `train.quarter_turns`, and for a stack of neighbours also the reversed
    stack (which training does not show); without augmentation there are none. Changing it needs no
    new training."""

    def __post_init__(self) -> None:
        one_of("hash.code", self.code, ("latent", "rotated", "joined"))
        not_negative("hash", self, "fc1_weight")
        share("hash", self, "views_weight")
        require(1 <= self.bits <= 1024, "hash.bits", self.bits, "between 1 and 1024")


@dataclasses.dataclass
class Loss:
    """The sum of weighted losses: of the codes, of FC3, of FC1 and of the views."""

    name: str = "ordinal"
    """Loss of the codes, a file of `inres/learning/losses`: `nll` (that of FC3 alone, section 3.4),
    `paper` (section 2.3), `dpsh` and `hashnet` (pairs), `dtsh` (triplets), `greedyhash` and
    `orthohash` (classification), `csq`, `ordinal` and `graded` (target codes; those of `ordinal`
    differ more, the more sizes differ, those of `graded`, the more properties differ; with two
    classes or fewer both are `nll`)."""
    weight: float = 3.0
    """Weight of the loss of the codes."""
    classification: float = 1.0
    """Weight of the NLL of FC3. Predicted classes, softmax and accuracy need it above 0."""
    fine: float = 1.0
    """Weight of the loss of FC1, by which the fine stage ranks
    (`inres.learning.neighbourhood`)."""
    fine_spread: float = 0.25
    """In the loss of FC1, images of one class count less as similar the more their diameters
    differ: 1/e at a ratio of e^`fine_spread`; 0: the diameter does not matter."""
    fine_properties: float = 0.0
    """In the loss of FC1, weight in [0, 1] of the similarity over all properties
    (`neighbourhood.graded_similarity`); the rest is that of class and diameter."""
    view: float = 0.1
    """Weight of the NLL of the view that each plane shows; with `model.planes` of `three` or `nine`
    only. 0: the network does not predict views."""
    settings: Any = dataclasses.field(default_factory=loss_settings.default)
    """Settings of the losses of the codes, as in `settings.dpsh.quantization`; those of `name` are
    used."""

    def __post_init__(self) -> None:
        registered("loss.name", self.name, losses.names())
        if isinstance(self.settings, Mapping):
            self.settings = loss_settings.from_dict(self.settings)
        not_negative("loss", self, "weight", "classification", "fine", "fine_spread", "view")
        share("loss", self, "fine_properties")
        alone = losses.get(self.name).needs_classification
        positive("loss", self, "classification" if alone else "weight")

    @property
    def trains_fc3(self) -> bool:
        """Whether FC3 learns to classify."""
        return self.classification > 0 or losses.get(self.name).trains_fc3


@dataclasses.dataclass
class Properties:
    """Numbers that describe a nodule, learned next to its class: ratings, size, location."""

    names: tuple[str, ...] = ("auto",)
    """Columns of the item table to learn; `auto` stands for those of `vocabulary.PROPERTIES` that
    images show (not the location) and that are known of enough training items, and an empty tuple
    for none."""
    weight: float = 1.0
    """Weight of the loss of the property head (`inres.learning.property_error`), above 0; without
    `names` there is no head."""
    importance: tuple[str, ...] = ()
    """Weights of single properties in training, in `joined` features and in `similarity`, as in
    `("diameter_mm=2", "subtlety=0")`; others have the weight 1."""
    scale: tuple[str, ...] = ()
    """Differences from which on two nodules are not similar, as in `("texture=1.5",)`; for
    diameters, a difference of the natural logarithm. Others have the standard deviation over the
    archive."""

    def __post_init__(self) -> None:
        self.names, self.importance = tuple(self.names), tuple(self.importance)
        self.scale = tuple(self.scale)
        positive("properties", self, "weight")
        repeated = {name for name in self.names if self.names.count(name) > 1}
        require(not repeated, "properties.names", self.names, "different names")
        self.weights()
        self.scales()

    def weights(self) -> dict[str, float]:
        """The weights in `importance` by property.

        Raises:
          ConfigError: one is not written as `name=number`, with a number of 0 or more.
        """
        found = _numbers("properties.importance", self.importance, "0 or more")
        for name, value in found.items():
            require(value >= 0, "properties.importance", f"{name}={value:g}", "0 or more")
        return found

    def scales(self) -> dict[str, float]:
        """The differences in `scale` by property.

        Raises:
          ConfigError: one is not written as `name=number`, with a number above 0.
        """
        found = _numbers("properties.scale", self.scale, "above 0")
        for name, value in found.items():
            require(value > 0, "properties.scale", f"{name}={value:g}", "above 0")
        return found


def _numbers(field: str, texts: Sequence[str], kind: str) -> dict[str, float]:
    """Numbers by name, from texts such as `name=number`."""
    found = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        require(bool(name) and math.isfinite(value), field, text, f"name=number, {kind}")
        found[name] = value
    return found


@dataclasses.dataclass
class Train:
    """The recipe. `experiments/configs/paper.py` has that of the paper (section 3.4)."""

    epochs: int = 60
    """Passes over the training items; 0 where `images` is given."""
    images: int = 0
    """Number of images that the training shows, counting each plane that is seen by itself, instead
    of `epochs`: data sets of any size then take about the same time."""
    batch: int = 64
    """Images per step, over all devices."""
    learning_rate: float = 0.05
    """Highest learning rate."""
    momentum: float = 0.9
    """Momentum of SGD; 0: none."""
    nesterov: bool = True
    """Whether the momentum is Nesterov's."""
    weight_decay: float = 1e-3
    """Acts on kernels, not on biases and norms."""
    clip_norm: float = 0.0
    """Longer gradients (L2 norm over all parameters) are scaled down to this; 0: no clipping. The
    first gradients are the longest, by far with small batches."""
    schedule: str = "cosine"
    """`cosine` to zero after a linear warm-up, or `constant`."""
    warmup_epochs: float = 1.0
    """Length of the warm-up, in which the learning rate rises linearly."""
    precision: str = "float32"
    """Type in which the convolutions of the network and of the U-Net are computed, in training and
    encoding: `float32` or `bfloat16`. Parameters, their updates, the statistics of norms, FC1, H,
    all layers after it and the losses are float32 with either."""
    init: str = "he"
    """`he` (fan-in normal) or `gaussian` (N(0, 0.01), FC2 as random projections)."""
    balance_power: float = 0.5
    """Items are drawn with a weight of class frequency to the power of minus this; 0: uniformly."""
    flips: bool = True
    """Mirror images at random, along both axes."""
    quarter_turns: bool = True
    """Rotate images at random by multiples of 90 degrees. Cubes are mirrored and rotated by all 48
    symmetries of a cube, so `flips` and `quarter_turns` must be equal for them; where the network
    sees the planes of a cube one by one, each plane is changed by itself instead, so that it stays
    the view that it is."""
    shift_px: int = 3
    """Largest random shift along each axis."""
    zoom: float = 1.0
    """Images are enlarged or reduced by factors of up to this, and the diameter, the size class and
    the code change with them (`inres.data.zoom`); 1: never."""
    neighbour_dropout: float = 0.5
    """Share of images, at each step, whose neighbours (`items.neighbours`) are masked, as for a
    query without neighbours; of a cube, all but the central plane."""
    planes: int = 2
    """Where `model.planes` is not `channels`: from 1 to this many random planes of each item are
    seen at each step; 0: all of them."""
    clean_share: float = 0.6
    """Share of the steps, at the end, without augmentation, so that the network fits the archive's
    images, most of which it trains on, as they are stored."""
    checkpoint_every: int = 1
    """Epochs between checkpoints."""
    eval_every: int = 1
    """Epochs between evaluations on the validation part."""
    keep: str = "last"
    """Weights to use: the `last`, or the `best` on the validation part."""
    monitor: str = "map_macro"
    """What `best` maximises: `map_macro` (by Hamming distance of `latent` codes) or `accuracy`."""
    patience: int = 0
    """With `best`: epochs without improvement after which training stops; 0: never."""

    def __post_init__(self) -> None:
        positive("train", self, "batch", "learning_rate", "checkpoint_every", "eval_every")
        not_negative("train", self, "weight_decay", "warmup_epochs", "balance_power")
        not_negative("train", self, "clip_norm", "shift_px", "patience", "planes", "images")
        not_negative("train", self, "epochs")
        require(
            (self.epochs > 0) != (self.images > 0),
            "train.epochs",
            self.epochs,
            f"above 0 if train.images = {self.images} is 0, and 0 otherwise",
        )
        require(1 <= self.zoom <= 2, "train.zoom", self.zoom, "from 1 (never) to 2")
        require(
            self.zoom == 1 or self.clean_share == 0,
            "train.zoom",
            self.zoom,
            f"1 where train.clean_share is {self.clean_share:g}, not 0",
        )
        require(0 <= self.momentum < 1, "train.momentum", self.momentum, "in [0, 1)")
        require(self.batch >= 2, "train.batch", self.batch, "2 or more, as losses compare pairs")
        require(
            self.schedule == "constant" or self.images > 0 or self.warmup_epochs <= self.epochs,
            "train.warmup_epochs",
            self.warmup_epochs,
            f"no more than train.epochs = {self.epochs} where train.schedule is 'cosine'",
        )
        share("train", self, "neighbour_dropout", "clean_share")
        one_of("train.schedule", self.schedule, ("cosine", "constant"))
        one_of("train.init", self.init, ("he", "gaussian"))
        one_of("train.precision", self.precision, ("float32", "bfloat16"))
        one_of("train.keep", self.keep, ("last", "best"))
        one_of("train.monitor", self.monitor, ("map_macro", "accuracy"))
        require(
            self.keep == "best" or not self.patience,
            "train.patience",
            self.patience,
            "0 where train.keep is 'last'",
        )


@dataclasses.dataclass
class Search:
    """The two stages of the search that is evaluated (paper, section 3.3).

    Options of a single query, such as the number of results, are `inres.SearchOptions`.
    """

    threshold: int = 1
    """Items of the pool have a Hamming distance below this many bits. 1: equal codes alone, so that
    `least_pool` decides."""
    least_pool: float = 0.11
    """Share of the archive that a pool holds at least: where fewer items are below the threshold,
    it is raised for this query; 0: never."""
    features: str = "joined"
    """The pool is ranked by the Euclidean distance of `fc1` (section 3.3), `fc1_fc3` (Fig. 8), or
    `joined`: class probabilities, properties and FC1 (`inres.encoding.representation`)."""
    class_weight: float = 2.0
    """For `joined`: weight of the class probabilities, next to 1 for all properties together."""
    fc1_weight: float = 1.0
    """For `joined`: weight of FC1, likewise."""
    size_weight: float = 5.0
    """For `joined`: weight of the diameter, next to 1 for every other property."""

    def __post_init__(self) -> None:
        positive("search", self, "threshold")
        one_of("search.features", self.features, ("fc1", "fc1_fc3", "joined"))
        share("search", self, "least_pool")
        not_negative("search", self, "class_weight", "fc1_weight", "size_weight")


@dataclasses.dataclass
class Config:
    """One experiment."""

    name: str = "phantom"
    """Name of the experiment."""
    seed: int = 0
    """Seed of the training: initial weights, order of the items, augmentation, dropout."""
    pdf: bool = True
    """Also write figures as PDF, with fonts that journals accept; for a small evaluation this takes
    as long as everything else."""
    data: Data = dataclasses.field(default_factory=Data)
    phantom: Phantom = dataclasses.field(default_factory=Phantom)
    items: Items = dataclasses.field(default_factory=Items)
    split: Split = dataclasses.field(default_factory=Split)
    segment: Segment = dataclasses.field(default_factory=Segment)
    model: Model = dataclasses.field(default_factory=Model)
    hash: Hash = dataclasses.field(default_factory=Hash)
    loss: Loss = dataclasses.field(default_factory=Loss)
    properties: Properties = dataclasses.field(default_factory=Properties)
    train: Train = dataclasses.field(default_factory=Train)
    search: Search = dataclasses.field(default_factory=Search)

    def __post_init__(self) -> None:
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        self._require_cubes_where_needed()
        by_accuracy = self.train.keep == "best" and self.train.monitor == "accuracy"
        require(
            self.loss.trains_fc3 or not by_accuracy,
            "train.monitor",
            self.train.monitor,
            "map_macro where FC3 learns nothing (loss.classification = 0)",
        )

    def _require_cubes_where_needed(self) -> None:
        """Refuse networks and planes that do not fit the items."""
        cubes, planes = self.items.view == "cube", self.model.planes
        require(
            cubes or planes not in ("three", "nine"),
            "model.planes",
            planes,
            f"channels or each where items.view is {self.items.view!r}, not 'cube'",
        )
        require(
            self.model.name != "inres_net_3d" or (cubes and planes == "channels"),
            "model.name",
            self.model.name,
            f"a network of images where items.view is {self.items.view!r} and model.planes is "
            f"{planes!r}; inres_net_3d needs 'cube' and 'channels'",
        )
        require(
            not cubes or self.train.zoom == 1,
            "train.zoom",
            self.train.zoom,
            "1 where items.view is 'cube'",
        )
        require(
            not cubes or self.train.flips == self.train.quarter_turns,
            "train.quarter_turns",
            self.train.quarter_turns,
            f"train.flips = {self.train.flips} where items.view is 'cube'",
        )


def to_dict(config: Config) -> dict[str, Any]:
    """The config as nested plain dicts, as written to `config.json`."""
    return dataclasses.asdict(config)


def from_dict(values: Mapping[str, Any]) -> Config:
    """The config from nested dicts, as written by `to_dict`; missing fields have their defaults.

    Raises:
      ConfigError: a section or field is unknown, or a value is impossible.
    """
    sections = [field.name for field in dataclasses.fields(Config)]
    unknown = sorted(set(values) - set(sections))
    if unknown:
        raise ConfigError(f"config: {unknown} are unknown; must be among {sections}")
    parts: dict[str, Any] = {}
    for field in dataclasses.fields(Config):
        if field.name not in values:
            continue
        value = values[field.name]
        if dataclasses.is_dataclass(field.type):
            require(isinstance(value, Mapping), field.name, value, "a section with fields")
            known = {f.name: f.type for f in dataclasses.fields(field.type)}
            unknown = sorted(set(value) - set(known))
            require(not unknown, field.name, unknown, f"among {sorted(known)}")
            for name, given in value.items():
                _require_type(f"{field.name}.{name}", given, known[name])
            value = field.type(**value)  # type: ignore[operator]
        else:
            _require_type(field.name, value, field.type)
        parts[field.name] = value
    return Config(**parts)


def _require_type(field: str, value: Any, kind: Any) -> None:
    """Check the type of a value: JSON has lists for tuples and may have integers for floats."""
    if kind not in (bool, int, float, str):
        many = kind in (tuple[int, ...], tuple[str, ...])
        kinds: tuple[type, ...] = (tuple, list) if many else (object,)
    else:
        kinds = (int, float) if kind is float else (kind,)
    right = isinstance(value, kinds) and not (isinstance(value, bool) and kind in (int, float))
    require(right, field, value, f"a {getattr(kind, '__name__', kind)}")


def checked(config: Config) -> Config:
    """A copy of `config` with all fields checked.

    Raises:
      ConfigError: a value is impossible.
    """
    return from_dict(to_dict(config))
