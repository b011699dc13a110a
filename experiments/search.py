"""Find the cases most like one query (paper, Fig. 10).

    python -m experiments.search --config=experiments/configs/phantom.py --workdir=runs/phantom \\
        --item=12
    ... --image=slice.png
    ... --scan=scan.mhd --world=-100.6,67.3,-231.8
    ... --scan=scan.mhd --slice=120

The query is an item of the table (by its row), an image file, or a place in a scan; it takes the
gallery's own road. Prints a table and writes it as CSV beside a panel of the query and the first
results (at most 50). The query's own scan is left out unless --own_scan. Fields of --config.search
set the pool (threshold, min_pool, nearest), the ranking (rank), which items are looked at
(same_class, where), and whether every slice is shown or each nodule or scan once (distinct).
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from experiments import common, index, segment, train
from inres import sources
from inres.config import Config
from inres.data import items, queries, views
from inres.encoding import encode
from inres.figures import panels, style
from inres.learning import recipe
from inres.learning.checkpoints import Checkpoints
from inres.retrieval import codes, distinct
from inres.retrieval import index as index_lib
from inres.retrieval import search as search_lib
from inres.storage import store
from inres.system import files

ITEM = flags.DEFINE_integer("item", None, "Query: row of the item table, from 0.")
IMAGE = flags.DEFINE_string("image", None, "Query: an image file of one slice or crop.")
SCAN = flags.DEFINE_string("scan", None, "Query: a scan (.mhd, .nrrd, .nii.gz or DICOM folder).")
WORLD = flags.DEFINE_string("world", None, "With --scan: x,y,z in mm (LPS, as in LUNA16).")
SLICE = flags.DEFINE_integer("slice", None, "With --scan: the slice's number, from 0.")
OWN_SCAN = flags.DEFINE_bool("own_scan", False, "Let items of the query's own scan be found.")
OUT = flags.DEFINE_string("out", None, "Stem of the CSV and PNG; default <workdir>/search/<query>.")

COLUMNS = (
    *("rank", "item", "scan", "nodule", "class", "diameter_mm", "malignancy"),
    *("hamming", "euclidean"),
)
"""Of the printed table."""
MORE_COLUMNS = ("image", "patient", "x_mm", "y_mm", "z_mm")
"""Of the CSV besides."""
PICTURED = 50
"""Results that the panel shows; table and CSV hold all."""


@dataclasses.dataclass(frozen=True)
class Query:
    """One query, ready for the network."""

    name: str
    seen: np.ndarray
    """uint8 [S, S, C], the network's input: its view amid those of its neighbours."""
    scan: str
    label: int
    """-1 where unknown."""
    diameter_mm: float
    """NaN where unknown."""

    @property
    def image(self) -> np.ndarray:
        """uint8 [S, S], its own view."""
        return self.seen[..., self.seen.shape[-1] // 2]


def run(config: Config, workdir: Path) -> None:
    """Search once."""
    table = items.open_store(workdir / "prepare")
    query = read_query(config, workdir, table)
    data = train.labelled(config, table)
    classes = data.classes
    model, variables = train.trained(config, workdir, classes)
    planes = index.load_planes(config, workdir)
    fingerprint = index.fingerprint(variables, planes)
    stored = store.load(workdir / "index" / "archive", model=fingerprint, verify=True)
    encoder = (
        encode.make_encoder(model, variables)
        if trained_on(workdir, data.side, query.seen)
        else index.unseen_encoder(config, model, variables, channels=query.seen.shape[-1])
    )
    encoded = encoder(query.seen[None])
    groups, numbers = stored.records.groups("scan")
    own = -1 if OWN_SCAN.value else numbers.get(query.scan, -1)
    result = find(
        config,
        index_lib.build(
            stored.codes,
            stored.features,
            bits=stored.bits,
            groups=groups,
            labels=stored.records.column("label"),
            ids=stored.ids,
        ),
        stored.records,
        encode.to_bits(encoded, planes),
        index.fine_features(config, encoded, index.load_scale(workdir)),
        nodules=items.nodule_names(table.items),
        predicted=encoded.fc3.argmax(axis=1),
        own=own,
    )
    ids = [int(i) for i in result.ids[0] if i >= 0]
    records = stored.records.many(ids)
    names = data.class_names
    rows = [
        {
            "rank": rank,
            "item": record["item"],
            "scan": record["scan"],
            "nodule": record["nodule"],
            "class": panels.class_title(int(_number(record["label"])), names),
            "diameter_mm": _blank(record["diameter_mm"]),
            "malignancy": _blank(record["malignancy"]),
            "hamming": int(result.hamming[0, rank - 1]),
            "euclidean": _blank(result.distance[0, rank - 1], "{:.4f}"),
            **{name: _known(record.get(name)) for name in MORE_COLUMNS},
        }
        for rank, record in enumerate(records, start=1)
    ]
    predicted = panels.class_title(int(encoded.fc3[0].argmax()), names)
    print(f"query {query.name}: predicted {predicted}")
    print(_verdict(config, result, own))
    print(format_table(rows))
    stem = Path(OUT.value).expanduser() if OUT.value else workdir / "search" / query.name
    stem.parent.mkdir(parents=True, exist_ok=True)
    files.write_csv(stem.parent / f"{stem.name}.csv", (*COLUMNS, *MORE_COLUMNS), rows)
    images = train.pictures(workdir)
    shown = [
        panels.Shown(
            np.asarray(images[int(_number(record["item"]))]),
            int(_number(record["label"])),
            _number(record["diameter_mm"]),
            str(record["scan"]),
            int(result.hamming[0, i]),
            None if np.isnan(result.distance[0, i]) else float(result.distance[0, i]),
        )
        for i, record in enumerate(records[:PICTURED])
    ]
    some = f", the first {PICTURED} of {len(records)}" if len(records) > PICTURED else ""
    panel = panels.search_panel(
        panels.Shown(query.image, query.label, query.diameter_mm, query.scan),
        shown,
        class_names=names,
        title=f"Query {query.name}, predicted {predicted}{some}",
    )
    written = style.save(panel, stem.parent / stem.name, pdf=config.pdf)
    print(f"wrote {stem}.csv and {', '.join(str(path) for path in written)}")


def trained_on(workdir: Path, side: np.ndarray, seen: np.ndarray) -> bool:
    """Whether the network was trained on exactly this input, which is then encoded as stored."""
    inputs = train.network_inputs(workdir)
    return any(np.array_equal(inputs[row], seen) for row in np.flatnonzero(side == "train"))


def find(
    config: Config,
    built: index_lib.Index,
    records: store.Records,
    bits: np.ndarray,
    features: np.ndarray,
    *,
    nodules: np.ndarray,
    predicted: np.ndarray,
    own: int,
) -> search_lib.Result:
    """The search that the config describes, of one query; the scan numbered `own` is left out.

    Args:
      config: its section `search`.
      built, records: the archive.
      bits: bool [1, h], the query's code.
      features: float32 [1, D], what the fine stage compares.
      nodules: str [N], the item table's `items.nodule_names`.
      predicted: int [1], the query's class by FC3.
      own: number of the query's scan; -1: none.

    Raises:
      ValueError: the condition on the records is not one.
    """
    c = config.search
    if c.where:
        built = index_lib.keep(built, records.where(c.where))
    most = max(1, min(c.k, len(built)))  # of more, the rest would be empty rows
    query = codes.pack(bits)
    who: dict[str, Any] = {
        "exclude_group": np.array([own]),
        "only_label": predicted if c.same_class else None,
    }

    def first(k: int) -> search_lib.Result:
        if c.rank == "euclidean":
            radius = {"threshold": c.threshold, "min_pool": c.min_pool}
            pool: dict[str, Any] = {"nearest": c.nearest} if c.nearest else radius
            return search_lib.search(built, query, features, k=k, **pool, **who)
        found, distance = search_lib.search_hamming(built, query, k=k, **who)
        unknown = np.full(found.shape, np.nan, np.float32)
        size = (found >= 0).sum(axis=1)
        return search_lib.Result(found, distance, unknown, size, distance.max(axis=1) + 1)

    if not c.distinct:
        return first(most)

    def unit_of(ids: np.ndarray) -> np.ndarray:
        return np.array(
            [_unit(record, c.distinct, nodules) for record in records.many(ids.tolist())]
        )

    return distinct.search_distinct(first, unit_of, k=most)


def _unit(record: Mapping[str, Any], kind: str, nodules: np.ndarray) -> str:
    """The scan of an item, or its nodule; an item of none stands for itself."""
    itself = f"\n{record['item']}"
    if kind == "scan":
        return record["scan"] or itself
    return f"{record['scan']}\n{nodules[int(record['item'])] or itself}"


def read_query(config: Config, workdir: Path, table: items.ItemStore) -> Query:
    """The query that the flags name, on the road of the items of `table`.

    Raises:
      ValueError: not exactly one query is named, or it is not there.
    """
    given = [f.name for f in (ITEM, IMAGE, SCAN) if f.value is not None]
    if len(given) != 1:
        raise ValueError(
            f"name one query by --item, --image or --scan (given: {', '.join(given) or 'none'})"
        )
    placed = [f"--{f.name}" for f in (WORLD, SLICE) if f.value is not None]
    if placed and SCAN.value is None:
        raise ValueError(f"{', '.join(placed)}: a place in a scan; name that by --scan")
    if ITEM.value is not None:
        if not 0 <= ITEM.value < len(table.items):
            last = len(table.items) - 1
            raise ValueError(f"--item={ITEM.value}: the table has rows 0 to {last}")
        item = table.items[ITEM.value]
        seen = np.asarray(train.network_inputs(workdir)[ITEM.value])
        return Query(f"item{ITEM.value}", seen, item.scan, item.label, item.diameter_mm)
    root = common.data_root(config, workdir)
    if IMAGE.value is not None:
        path = Path(IMAGE.value).expanduser()
        known = _item_of(path, root, table) if sources.get(config.data.kind).ready_made else None
        planes, mask, point, notes = queries.prepare_image(
            path, config=config, root=root, lone=known is None
        )
        own = _named_scan(path)
        if sources.get(config.data.kind).ready_made:
            _same_size(path, planes, table)
            own = known.scan if known else ""
        name = path.name
    else:
        if sources.get(config.data.kind).ready_made:
            raise ValueError(
                f"--scan={SCAN.value}: this archive is of a folder's images, not of scans; cut "
                "the slice or crop as they were cut and name it by --image"
            )
        if (WORLD.value is None) == (SLICE.value is None):
            raise ValueError("--scan needs a place: either --world=x,y,z or --slice=number")
        path = Path(str(SCAN.value)).expanduser()
        planes, mask, point, notes = queries.prepare_point(
            path, config=config, root=root, world_mm=_world(), slice_index=SLICE.value
        )
        place = f"slice{SLICE.value}" if WORLD.value is None else WORLD.value.replace(",", "_")
        own = _named_scan(path)
        name = f"{own}_{place}"
    channels = train.network_inputs(workdir).shape[-1]
    if len(planes) < channels:
        notes = (*notes, f"{path}: one slice, which also stands for its {channels - 1} neighbours")
    for note in notes:
        print(f"note: {note}")
    # A picture beside an archive of scans is a crop already, and the U-Net knows whole slices.
    picture = mask is None and not sources.get(config.data.kind).ready_made
    learned = None if picture else _unet_mask(config, workdir, planes[len(planes) // 2])
    seen = views.stack(planes, mask if learned is None else learned, point, config.items)
    if len(planes) < channels:
        seen = np.repeat(seen, channels, axis=-1)
    return Query(name, seen, own, -1, float("nan"))


def _same_size(path: Path, planes: np.ndarray, table: items.ItemStore) -> None:
    side = table.slices.shape[-1]
    if planes.shape[-1] != side:
        raise ValueError(
            f"{path}: {planes.shape[-1]} pixels a side, but the archive's images have {side}; cut "
            "it as they were cut"
        )


def _item_of(path: Path, root: Path, table: items.ItemStore) -> items.Item | None:
    """The item of the folder `root` whose image a file is."""
    here = (path.resolve(), path.absolute())
    return next((item for item in table.items if root / item.image in here), None)


def _named_scan(path: Path) -> str:
    """The scan by whose name a file is called."""
    kinds = (".mhd", ".mha", ".nii.gz", ".nii", ".nrrd")
    kind = next((kind for kind in kinds if path.name.endswith(kind)), "")
    return path.name.removesuffix(kind)


def _unet_mask(config: Config, workdir: Path, slice_: np.ndarray) -> np.ndarray | None:
    """The lung mask by the trained U-Net, where the gallery was segmented by it."""
    if not (workdir / "segment" / "masks.npy").is_file():
        return None
    c = config.segment
    model = recipe.build_unet(c)
    spacing = segment.spacing_mm(config)
    variables = Checkpoints.read_variables(workdir / "segment" / "checkpoints")
    return encode.make_segmenter(model, variables, size=c.size_px, spacing_mm=spacing)(
        slice_[None]
    )[0]


def _world() -> tuple[float, float, float] | None:
    if WORLD.value is None:
        return None
    try:
        x, y, z = (float(part) for part in WORLD.value.split(","))
    except ValueError:
        raise ValueError(f"--world={WORLD.value}: must be three numbers x,y,z in mm") from None
    return x, y, z


def _verdict(config: Config, result: search_lib.Result, own: int) -> str:
    c = config.search
    size, used = int(result.pool_size[0]), int(result.threshold[0])
    among = "of the predicted class " * c.same_class + f"where {c.where} " * bool(c.where)
    if size == 0 and (c.rank == "hamming" or c.nearest or c.min_pool):  # all there is was asked
        but = " (the query's own scan is not searched)" if own >= 0 else ""
        return f"no item {among}is left to be found{but}"
    if size == 0:
        return (
            f"no item {among}has a Hamming distance below {used}: the pool is empty; raise "
            "--config.search.threshold, or let it widen with --config.search.min_pool=1"
        )
    once = f", each {c.distinct} once" if c.distinct else ""
    if c.rank == "hamming":
        shown = int((result.ids[0] >= 0).sum())
        return f"the {shown} items {among}nearest by Hamming distance{once}"
    raised = not c.nearest and used > c.threshold
    widened = f" (raised from {c.threshold})" if raised else ""
    return f"{size} items {among}in the pool, Hamming distance below {used}{widened}{once}"


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _known(value: Any) -> Any:
    """A value of a record as a table shows it: empty where unknown."""
    return "" if value is None or value != value else value


def _blank(value: Any, form: str = "{:.3g}") -> str:
    number = _number(value)
    return "" if np.isnan(number) else form.format(number)


def format_table(rows: list[dict[str, Any]]) -> str:
    """The results as aligned text; long scan and nodule names by their end."""
    if not rows:
        return ""
    cells = [list(COLUMNS)] + [[_cell(row, name) for name in COLUMNS] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def _cell(row: Mapping[str, Any], name: str) -> str:
    return panels.short(str(row[name]), keep=20) if name in ("scan", "nodule") else str(row[name])


if __name__ == "__main__":
    common.launch(run, reads_only=True)
