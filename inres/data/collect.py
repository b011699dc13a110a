"""The files of all scans put together as one item store."""

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inres.config import Config
from inres.ct import lungs
from inres.data import columns, identity, item_store, labels, normals
from inres.data.item_table import write_table
from inres.data.items import Item, table2
from inres.data.scan_items import Job, lengths_of
from inres.sources import Progress, Scans
from inres.system import files
from inres.system.rows import rows_file

SCAN_COLUMNS = (
    *("scan", "path", "series", "patient", "study_date", "voxels", "spacing_mm", "digest", "notes"),
)
MASKS = ("threshold", "luna16", "repaired")
AUDIT_COLUMNS = ("scan", "nodule", "diameter_mm", *MASKS, "dense")
MANY_AERATED = 0.25
"""Share of nodules that may show nothing but aerated lung; by mistaken signs most of them do."""
_MOST_NOTES = 10
"""Most scans whose notes are among the messages; `scans.csv` has all."""


class PrepareError(ValueError):
    """Scans could not be prepared; the message lists the first and says how to continue."""


@dataclasses.dataclass(frozen=True)
class Part:
    """The file of one scan, without its arrays."""

    path: Path
    items: tuple[Item, ...]
    """Nodules first, then normal slices in random order: a prefix is a random choice of these."""
    audit: tuple[dict[str, Any], ...]
    """One row a nodule."""
    messages: tuple[str, ...]
    scan: dict[str, str]
    """Its row of `scans.csv`."""
    spread: bool
    """Whether its items are places spread through the lungs, none of them a normal slice."""

    @property
    def normals(self) -> int:
        """Number of normal slices."""
        return sum(not item.nodule for item in self.items) * (not self.spread)

    def keep(self, normals: int) -> "Part":
        """This part with only the first `normals` normal slices."""
        nodules = len(self.items) - self.normals
        return dataclasses.replace(self, items=self.items[: nodules + normals])


def collect(
    jobs: Sequence[Job], described: Scans, config: Config, *, out: Path, progress: Progress
) -> None:
    """Write the item store; its table comes last, so that a store is complete or absent.

    Raises:
      PrepareError: there is no item.
    """
    parts = _balanced([_read(job) for job in jobs], config)
    items = _uniform([item for part in parts for item in part.items])
    if not items:
        raise PrepareError(
            f"{out}: not one item; no nodule lies inside its canvas (config.items.canvas_mm = "
            f"{config.items.canvas_mm:g}) and no slice is clear of all findings"
        )
    audit = [row for part in parts for row in part.audit]
    messages = _messages(parts, items, described, config)
    spread = {scan.uid for scan in described.scans if scan.spread}
    labelled = labels.label_items(
        items,
        labels.SIZE if config.items.label == labels.AUTO else config.items.label,
        normal=lambda item: not item.nodule and item.scan not in spread,
    )
    items = list(labelled.items)
    for name in ("items.csv", "meta.json", "scans.csv", *item_store.OPTIONAL):
        (out / name).unlink(missing_ok=True)
    _write_arrays(parts, config, out=out, progress=progress)
    files.write_csv(out / "audit.csv", AUDIT_COLUMNS, audit)
    files.write_csv(out / "scans.csv", SCAN_COLUMNS, [part.scan for part in parts])
    meta = _meta(items, audit, messages, len(jobs), config)
    files.write_json(
        out / "meta.json", meta | {"class_names": labelled.names, "skipped": described.skipped}
    )
    write_table(out / "items.csv", items)


def _read(job: Job) -> Part:
    with np.load(job.path) as stored:
        items, audit, messages, found = json.loads(str(stored["text"]))
    made = tuple(Item(**item) for item in items)
    scan = job.scan
    told = {"scan": scan.uid, "path": str(scan.path)}
    told |= {"patient": scan.patient, "study_date": scan.study_date}
    return Part(job.path, made, tuple(audit), tuple(messages), told | found, scan.spread)


def _uniform(items: Sequence[Item]) -> list[Item]:
    """Items whose columns hold either numbers or texts, as a table of them would be read.

    A number among texts becomes a text, and texts that are all numbers become numbers.
    """
    every: list[dict[str, float | str]] = [{**i.properties, **i.texts} for i in items]
    words = {
        name
        for given in every
        for name, value in given.items()
        if isinstance(value, str) and not files.is_plain_number(value)
    }
    found = [columns.split(columns.as_numbers(given, words), words) for given in every]
    return [
        dataclasses.replace(item, properties=numbers, texts=texts)
        for item, (numbers, texts) in zip(items, found, strict=True)
    ]


def _balanced(parts: Sequence[Part], config: Config) -> list[Part]:
    """The parts with `config.items.normals` normal slices in all, as evenly as possible."""
    rng = np.random.default_rng(config.data.seed)
    take = normals.even_shares([part.normals for part in parts], config.items.normals, rng)
    return [part.keep(count) for part, count in zip(parts, take, strict=True)]


def _messages(
    parts: Sequence[Part], items: Sequence[Item], described: Scans, config: Config
) -> list[str]:
    """What the user should know: of the data, of each scan, and what is missing."""
    noted = [f"{part.scan['path']}: {part.scan['notes']}" for part in parts if part.scan["notes"]]
    messages = [
        *described.messages,
        *noted[:_MOST_NOTES],
        *(text for part in parts for text in part.messages),
    ]
    if len(noted) > _MOST_NOTES:
        more = len(noted) - _MOST_NOTES
        messages.append(f"{more} more scans with notes on how they were read: see scans.csv")
    messages += _copies(parts)
    made = sum(part.normals for part in parts)
    if made < config.items.normals:
        messages.append(
            f"{made} normal slices instead of {config.items.normals}: no more are clear of "
            f"all findings by {config.items.normal_clearance_mm:g} mm"
        )
    kept = {item.nodule for item in items}
    nodules = [finding.name for scan in described.scans for finding in scan.nodules]
    lost = [name for name in nodules if name not in kept]
    if lost:
        messages.append(
            f"{len(lost)} of {len(nodules)} nodules left out: outside the canvas round their "
            f"scan's lungs (first: {lost[0]}); raise config.items.canvas_mm"
        )
    return messages + _doubtful_places([row for part in parts for row in part.audit])


def _copies(parts: Sequence[Part]) -> list[str]:
    """A message on scans with the same voxels under several names."""
    rows = [part.scan for part in parts]
    same = identity.copies(
        [identity.Identity(r["scan"], r["series"], r["digest"]) for r in rows], ()
    )
    if not same:
        return []
    copy, first = next(iter(same.items()))
    return [
        f"{len(same)} of {len(parts)} scans have the same voxels as another (first: {copy} and "
        f"{first}): they are in the data twice; remove one of each"
    ]


def _doubtful_places(audited: Sequence[dict[str, Any]]) -> list[str]:
    """Messages on nodules that are not where they should be, as where a sign is mistaken."""
    remedy = "check the signs of their positions (LPS or RAS)"
    outside = [row["nodule"] for row in audited if row["repaired"] == 0]
    aerated = [row["nodule"] for row in audited if row["dense"] < 0.5]
    out = []
    if outside:
        out.append(
            f"{len(outside)} of {len(audited)} nodules lie outside the lungs (first: "
            f"{outside[0]}): audit.csv lists all with 0 in `repaired`; if they are many, {remedy} "
            "and the lung masks"
        )
    if len(aerated) > MANY_AERATED * len(audited):
        out.append(
            f"{len(aerated)} of {len(audited)} nodules show nothing but aerated lung at their "
            f"centre (first: {aerated[0]}; less than 0.5 in `dense` of audit.csv): {remedy}"
        )
    return out


def _write_arrays(parts: Sequence[Part], config: Config, *, out: Path, progress: Progress) -> None:
    """Write the arrays of all parts one after the other, a scan in memory at a time."""
    side, neighbours = config.items.canvas_px, 2 * config.items.neighbours
    count = sum(len(part.items) for part in parts)
    audited = sum(len(part.audit) for part in parts)
    shapes: dict[str, tuple[int, ...]] = {
        "slices": (count, side, side),
        "lung_masks": (count, side, side),
        "audit_slices": (2 * audited, side, side),
    }
    if neighbours:
        shapes["neighbours"] = (count, neighbours, side, side)
    if config.items.view == "cube":
        shape = (count, *(config.items.cube_px,) * 3)
        shapes |= {"cubes": shape, "cube_states": shape}
    with contextlib.ExitStack() as stack:
        images = {
            name: stack.enter_context(rows_file(out / f"{name}.rows", shape))
            for name, shape in shapes.items()
        }
        known = None
        if neighbours:
            path = out / "known.npy"
            known = stack.enter_context(files.array_file(path, (count, neighbours)))
        for part in progress(parts, name="write item store", total=len(parts), unit="scan"):
            with np.load(part.path) as stored:
                for name, file in images.items():
                    rows = 2 * len(part.audit) if name == "audit_slices" else len(part.items)
                    file.add_packed(stored[name], stored[lengths_of(name)][:rows])
                if known is not None:
                    known.write(stored["known"][: len(part.items)].tobytes())


def _meta(
    items: Sequence[Item],
    audit: Sequence[dict[str, Any]],
    messages: Sequence[str],
    scans: int,
    config: Config,
) -> dict[str, Any]:
    """The contents of meta.json."""
    return {
        "window_hu": [config.items.hu_min, config.items.hu_max],
        "spacing_mm": config.items.spacing_mm,
        "canvas_px": config.items.canvas_px,
        "threshold_hu": lungs.THRESHOLD_HU,
        "lung_masks": config.data.lung_masks,
        "scans": scans,
        "table2": table2(items),
        "normals": {
            "asked": config.items.normals,
            "made": sum(item.label == 0 for item in items),
        },
        "audit": {
            name: float(np.mean([row[name] for row in audit]))
            for name in MASKS
            if audit and name in audit[0]
        },
        "messages": list(messages),
    }
