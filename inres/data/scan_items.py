"""The items of one scan, cut and written to a file of their own."""

import dataclasses
import hashlib
import json
import math
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inres.config import Config, Items
from inres.ct import lungs
from inres.data import columns, location, normals
from inres.data.audit import PLANE_OFFSET
from inres.data.cut import Cut, cut_scan, stacked
from inres.data.item_table import record_name
from inres.data.items import Item
from inres.sources import Finding, Scan
from inres.system import files
from inres.system.rows import pack

ITEM_FIELDS = (
    *("spacing_mm", "hu_min", "hu_max", "canvas_mm", "normal_clearance_mm"),
    *("slices_per_nodule", "neighbours", "neighbour_mm"),
)
"""The fields of `config.items` on which the items of a scan depend."""
CUBE_FIELDS = ("cube_mm", "cube_px")
"""Those on which they depend in addition where they are cubes."""
UNKNOWN_DIAMETER_MM = 2 * normals.UNKNOWN_RADIUS_MM
"""Assumed for a nodule of unknown diameter where its neighbourhood is cut and audited."""
AERATED_HU = -750
"""HU up to which a place is aerated lung: of 596 nodules of LUNA16, 2 have more than half of the
inner half of their diameter below, and 88 % of other places in the lungs."""
_FORMAT = 9
_NORMALS_FORMAT = 2
"""Of normal places that keep away from findings along each axis."""
LONGEST_NAME = 200
"""Bytes of the name of a scan's file; systems allow 255, some of which temporary files add."""


def fields(config: Items) -> tuple[str, ...]:
    """The fields of `config` on which the items of a scan depend."""
    cubes = CUBE_FIELDS if config.view == "cube" else ()
    # Without effect it is no field, so that items of before it existed stay valid.
    inside = ("normal_inside_mm",) if config.normal_inside_mm else ()
    return (*ITEM_FIELDS, *cubes, *inside)


@dataclasses.dataclass(frozen=True)
class Job:
    """One scan to prepare, and the file for its items."""

    scan: Scan
    config: Config
    normals: int
    """Most normal slices to offer."""
    path: Path

    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything that the result depends on."""
        parts = [
            _FORMAT,
            {name: getattr(self.config.items, name) for name in fields(self.config.items)},
            *self._normals_format(),
            self.config.items.places_per_scan if self.scan.spread else 0,
            self.config.data.seed,
            self.config.data.lung_masks,
            self.config.data.kernel,
            self.normals,
            repr(self.scan),
            [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in self._files()],
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def done(self) -> bool:
        """Whether `path` holds this very job's result."""
        if not self.path.is_file():
            return False
        try:
            with np.load(self.path) as stored:
                return str(stored["fingerprint"]) == self.fingerprint()
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
            return False

    def _normals_format(self) -> tuple[int, ...]:
        """Where items show less than `normal_clearance_mm`, their normal places did not change."""
        items = self.config.items
        near = normals.reach_mm(items) <= items.normal_clearance_mm
        return () if near else (_NORMALS_FORMAT,)

    @property
    def lung_mask(self) -> Path | None:
        """The mask file to use instead of the threshold."""
        return self.scan.lung_mask if self.config.data.lung_masks == "luna16" else None

    def _files(self) -> list[Path]:
        """The files of scan and mask, with the data files of MetaImage headers."""
        found: set[Path] = set()
        for path in (self.scan.path, self.lung_mask):
            if path is not None and path.is_dir():
                found |= set(path.rglob("*"))
            elif path is not None:
                found |= {path, *(path.with_suffix(suffix) for suffix in (".raw", ".zraw"))}
        return sorted(path for path in found if path.is_file())


def part_path(folder: Path, scan: Scan) -> Path:
    """The file in `folder` for the items of a scan."""
    name = urllib.parse.quote(scan.uid, safe="")
    if len(name) > LONGEST_NAME:
        digest = hashlib.sha256(scan.uid.encode()).hexdigest()
        name = f"{name[: LONGEST_NAME - 65]}-{digest}"
    return folder / f"{name}.npz"


@dataclasses.dataclass(frozen=True)
class Placed:
    """An item and the plane of the scan that it shows."""

    item: Item
    plane: int


@dataclasses.dataclass(frozen=True)
class Audited:
    """How much of a nodule each lung mask keeps, and two planes for auditing further masks."""

    row: dict[str, Any]
    """One row of `audit.csv`."""
    planes: tuple[int, int]
    """Below and above the centre, by `PLANE_OFFSET` radii."""


def work(job: Job) -> None:
    """Prepare one scan and write its file.

    Raises:
      ScanError: the scan or its mask cannot be read.
    """
    scan, config = job.scan, job.config
    cut = cut_scan(
        scan.path,
        config.items,
        lung_mask=job.lung_mask,
        series_uid=scan.series_uid,
        kernel=config.data.kernel,
    )
    shown = [nodule for nodule in scan.nodules if cut.shows(_point(cut, nodule))]
    placed = [item for nodule in shown for item in nodule_items(cut, scan, nodule)]
    audited = [audit(cut, scan, nodule) for nodule in shown]
    rng = np.random.default_rng([config.data.seed, zlib.crc32(scan.uid.encode())])
    findings = (*scan.nodules, *scan.excluded)
    if scan.spread:
        places = normals.spread_places(cut, config.items.places_per_scan, rng=rng)
        placed += [_place_item(cut, scan, place) for place in places]
    else:
        for place in normals.normal_places(cut, findings, most=job.normals, rng=rng):
            placed.append(_place_item(cut, scan, place, diameter_mm=0.0))
    _write(job, cut, located(cut, placed), audited)


def nodule_items(cut: Cut, scan: Scan, nodule: Finding) -> Iterator[Placed]:
    """The central slice of a nodule, then those next to it, for training."""
    index = cut.volume.world_to_index(np.array(nodule.world_mm))
    central = cut.nearest_plane(index[0])
    item = _item(
        scan,
        nodule.world_mm,
        cut.in_canvas(index),
        nodule=nodule.name,
        diameter_mm=nodule.diameter_mm,
        malignancy=_malignancy(nodule),
        more=nodule.columns,
    )
    yield Placed(item, central)
    spacing = cut.config.spacing_mm
    for plane in side_planes(cut, index[0], _diameter_mm(nodule) / 2 / spacing):
        yield Placed(dataclasses.replace(item, offset_mm=(plane - central) * spacing), plane)


def _diameter_mm(nodule: Finding) -> float:
    return UNKNOWN_DIAMETER_MM if math.isnan(nodule.diameter_mm) else nodule.diameter_mm


def _malignancy(nodule: Finding) -> float:
    value = nodule.columns.get("malignancy", math.nan)
    return math.nan if isinstance(value, str) else value


def record_columns(scan: Scan, more: Mapping[str, float | str]) -> dict[str, float | str]:
    """All columns of an item of a scan by their `record_name`, without the malignancy, which is a
    field of the item."""
    date = {"study_date": _iso_date(scan.study_date)} if scan.study_date else {}
    given = {**scan.columns, **date, **more}
    return {record_name(name): value for name, value in given.items() if name != "malignancy"}


def located(cut: Cut, placed: Sequence[Placed]) -> list[Placed]:
    """Items with their location in the lungs, except for what the source says of it."""
    worlds = np.array([(p.item.x_mm, p.item.y_mm, p.item.z_mm) for p in placed]).reshape(-1, 3)
    places = cut.volume.world_to_index(worlds)
    found = location.locate(cut.mask, places, cut.config.spacing_mm).round(3)
    out = []
    for one, values in zip(placed, found.tolist(), strict=True):
        named = zip(location.NAMES, values, strict=True)
        known = {name: value for name, value in named if math.isfinite(value)}
        properties = known | dict(one.item.properties)
        out.append(Placed(dataclasses.replace(one.item, properties=properties), one.plane))
    return out


def side_planes(cut: Cut, center: float, radius: float) -> list[int]:
    """Planes of a nodule next to its central one, evenly spread and all different.

    None is further from `center` than half of `radius`: there the nodule's disc still has
    sqrt(3) / 2 of its diameter, 0.87, or more. All lengths are in planes.
    """
    count = cut.config.slices_per_nodule
    central = cut.nearest_plane(center)
    first = min(central, int(np.ceil(center - radius / 2)))
    last = max(central, int(np.floor(center + radius / 2)))
    places = center + (np.arange(count) - count // 2) / max(count - 1, 1) * radius
    planes = {cut.nearest_plane(place) for place in np.clip(places, first, last)}
    return sorted(planes - {central})


def audit(cut: Cut, scan: Scan, nodule: Finding) -> Audited:
    """The shares of a nodule's sphere inside each of the scan's lung masks, and how dense it is."""
    index = cut.volume.world_to_index(np.array(nodule.world_mm))
    diameter = _diameter_mm(nodule)
    radius = diameter / 2 / cut.config.spacing_mm
    masks = {"threshold": cut.threshold, "luna16": cut.luna16, "repaired": cut.mask}
    row = {"scan": scan.uid, "nodule": nodule.name, "diameter_mm": diameter}
    for name, mask in masks.items():
        if mask is not None:
            row[name] = lungs.coverage(mask, index, radius)
    row["dense"] = _dense_share(cut.volume.hu, index, radius / 2)
    below, above = (cut.nearest_plane(index[0] + n * PLANE_OFFSET * radius) for n in (-1, 1))
    return Audited(row, (below, above))


def _dense_share(hu: np.ndarray, index: np.ndarray, radius: float) -> float:
    """The share of a sphere that is denser than aerated lung; lengths are in voxels."""
    low = np.clip(np.floor(index - radius).astype(int) - 1, 0, np.array(hu.shape) - 1)
    high = np.ceil(index + radius).astype(int) + 2
    near = hu[tuple(slice(a, max(a + 1, b)) for a, b in zip(low, high, strict=True))]
    return lungs.coverage(near > AERATED_HU, index - low, radius)


def _point(cut: Cut, finding: Finding) -> tuple[float, float]:
    return cut.in_canvas(cut.volume.world_to_index(np.array(finding.world_mm)))


def _iso_date(date: str) -> str:
    """YYYYMMDD as YYYY-MM-DD, which sorts as a text and is no number."""
    return f"{date[:4]}-{date[4:6]}-{date[6:]}"


def _place_item(cut: Cut, scan: Scan, place: np.ndarray, **known: Any) -> Placed:
    """The item at a place z, y, x of the cut where nothing is marked."""
    x, y, z = cut.volume.index_to_world(place)
    return Placed(_item(scan, (x, y, z), cut.in_canvas(place), **known), int(place[0]))


def _item(
    scan: Scan,
    world_mm: tuple[float, float, float],
    point: tuple[float, float],
    more: Mapping[str, float | str] | None = None,
    **known: Any,
) -> Item:
    """An item of a scan at a place in the world and a point of its canvas, without a class."""
    x, y, z = (round(float(value), 4) for value in world_mm)
    numbers, texts = columns.split(record_columns(scan, more or {}))
    return Item(
        image="",
        scan=scan.uid,
        split=scan.split,
        subset=scan.subset,
        patient=scan.patient,
        properties=numbers,
        texts=texts,
        x_mm=x,
        y_mm=y,
        z_mm=z,
        row=round(point[0], 3),
        col=round(point[1], 3),
        **known,
    )


def _write(job: Job, cut: Cut, placed: list[Placed], audited: list[Audited]) -> None:
    side = cut.config.canvas_px
    planes = [item.plane for item in placed]
    beside = [cut.neighbours(z) for z in planes]
    text = [
        [vars(item.item) for item in placed],
        [a.row for a in audited],
        list(cut.messages),
        _scan_row(cut),
    ]
    images: dict[str, Sequence[np.ndarray] | np.ndarray] = {
        "slices": stacked([cut.plane(z) for z in planes], side),
        "lung_masks": stacked([cut.mask_plane(z) for z in planes], side),
        "audit_slices": stacked([cut.plane(z) for a in audited for z in a.planes], side),
        "neighbours": [others for others, _ in beside],
        **(_cubes(cut, placed) if cut.config.view == "cube" else {}),
    }
    arrays = {
        "fingerprint": np.array(job.fingerprint()),
        "text": np.array(json.dumps(text)),
        "known": np.array([known for _, known in beside], np.uint8).reshape(
            len(planes), 2 * cut.config.neighbours
        ),
    }
    for name, rows in images.items():
        arrays[name], arrays[lengths_of(name)] = pack(rows)
    with files.atomic_path(job.path) as part:
        np.savez(part, **arrays)  # type: ignore[arg-type]


def lengths_of(name: str) -> str:
    """The array with the lengths of the rows of images that are stored as `name`."""
    return f"{name}_lengths"


def _scan_row(cut: Cut) -> dict[str, str]:
    """What is known of a scan only once it was read, as texts of a table."""
    header = cut.header
    return {
        "series": header.series_uid,
        "voxels": " x ".join(map(str, header.shape[::-1])),
        "spacing_mm": " x ".join(f"{mm:.4g}" for mm in header.spacing_mm),
        "digest": cut.digest,
        "notes": "; ".join(header.notes),
    }


def _cubes(cut: Cut, placed: Sequence[Placed]) -> dict[str, np.ndarray]:
    """The cube around each item's position, as its record says it, so that a query equals it."""
    worlds = [np.array((p.item.x_mm, p.item.y_mm, p.item.z_mm)) for p in placed]
    made = [cut.cube(cut.volume.world_to_index(world)) for world in worlds]
    shape = (len(made), *(cut.config.cube_px,) * 3)
    parts = zip(*made, strict=True) if made else ([], [])
    names = ("cubes", "cube_states")
    return {
        name: np.array(part, np.uint8).reshape(shape)
        for name, part in zip(names, parts, strict=True)
    }
