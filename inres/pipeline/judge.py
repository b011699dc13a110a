"""Judging vectors and codes of another program by the same protocol as a run."""

import dataclasses
import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inres.config import ConfigError, Items, Properties, Split
from inres.data import item_store, item_table, items, properties, splits, views
from inres.data.images import load_images
from inres.evaluation import baselines, runs
from inres.evaluation.embedded import Embedded
from inres.evaluation.settings import Settings as SearchSettings
from inres.pipeline import assess, stages, workdir
from inres.report import results
from inres.system import files

KIND = "vectors of another program"
"""Value of the stage's input `name`, so that no run can continue in a workdir for judging."""
STAGE = "evaluation"
ARCHIVE = ("train", "val")
"""Sides that are searched."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How vectors are judged."""

    threshold: int = 3
    """Items of the pool differ from the query in fewer bits than this."""
    bits: int = 48
    """Length of ITQ and LSH codes; overridden by the length of given codes."""
    size_px: int = 64
    """Side to which images are resized."""
    seed: int = 0
    """Seed of the split and of the codes."""
    pdf: bool = True
    """Draw figures as PDF too."""
    properties: Properties = dataclasses.field(default_factory=Properties)
    """Weights and scales of `similarity`; nothing is learned here."""


@dataclasses.dataclass(frozen=True)
class Given:
    """What is judged: N items with their vectors, codes and images."""

    embeddings: Path
    codes_file: Path | None
    table_file: Path
    table: Sequence[items.Item]
    vectors: np.ndarray
    """float [N, D]"""
    codes: np.ndarray | None
    """bool [N, h], or None for ITQ codes of the vectors."""
    images: np.ndarray | None
    """uint8 [N, S, S], or None if some are missing."""

    def described_codes(self) -> str:
        """Where the codes come from."""
        return str(self.codes_file) if self.codes_file else "PCA+ITQ of the vectors"


def read_given(embeddings: Path, table: Path, *, codes: Path | None, size_px: int) -> Given:
    """Read and check everything that is judged.

    Raises:
      ConfigError: no item has a label.
      FileNotFoundError, ValueError: a file is missing, damaged or does not fit the table.
    """
    rows = item_table.read_table(table)
    if rows[0].label < 0:  # then all of them
        raise ConfigError(f"{table}: no item has a label, by which rankings are judged")
    return Given(
        embeddings,
        codes,
        table,
        rows,
        read_vectors(embeddings, len(rows), table),
        None if codes is None else read_codes(codes, len(rows), table),
        read_images(table.parent, rows, size_px=size_px),
    )


@dataclasses.dataclass(frozen=True)
class Division:
    """Which items are queries, and which the archive."""

    split: Split
    side: np.ndarray
    """str [N], `train`, `val`, `test` or empty."""
    leaks: dict[str, Any]
    """What stands on two sides, as `splits.split_items` reports it."""


def divide(given: Given, split: Split) -> Division:
    """Split the items, and check that the archive holds something to find.

    Raises:
      ConfigError: the split leaks, or no query can find an item of its class.
    """
    try:
        side, leaks = splits.split_items(given.table, split, given.images)
    except ValueError as error:
        raise type(error)(f"{given.table_file}: {error}") from None
    require_relevant(np.array([item.label for item in given.table]), side, given.table_file)
    return Division(split, side, leaks)


def require_relevant(labels: np.ndarray, side: np.ndarray, table: Path) -> None:
    """Check that some query has an item of its class among training and validation items.

    Args:
      labels: int [N].
      side: str [N].
      table: file that is named in the error.

    Raises:
      ConfigError: none has, so no ranking can be scored.
    """
    queried, archived = (
        sorted(set(labels[np.isin(side, names)].tolist())) for names in (("test",), ARCHIVE)
    )
    if not set(queried) & set(archived):
        raise ConfigError(
            f"{table}: test items have the classes {queried}, training and validation items "
            f"{archived}; no query can find an item of its class. Correct the labels or the split "
            "column, or split by patient"
        )


def require_own(root: Path) -> None:
    """Check that the workdir `root` holds nothing but judged results.

    Raises:
      StageError: it holds a run; names what is there.
    """
    records = [stages.recorded(root / STAGE, name) for name in (stages.DONE, stages.BEGUN)]
    judged = any(record and record["inputs"].get("name") == KIND for record in records)
    names = [workdir.CONFIG, "folds", *(s for s in stages.STAGES if not (judged and s == STAGE))]
    found = [root / name for name in names if (root / name).exists()]
    if found:
        raise stages.StageError(
            f"{root} holds another run ({found[0].name}), whose evaluation would be lost; judge in "
            "another workdir"
        )
    if not judged:
        workdir.require_own(root)


def stage_inputs(given: Given, split: Split, settings: Settings) -> dict[str, Any]:
    """Everything that the scores depend on, as inputs of the stage; files by their contents."""
    shown: dict[str, Any] = {"images": "none"}
    if given.images is not None:
        digest = hashlib.sha256(given.images.data).hexdigest()
        shown = {"images": f"sha256 {digest[:16]}", "size_px": settings.size_px}

    def content(path: Path) -> str:
        return f"sha256 {files.sha256(path)[:16]}"

    return {
        "name": KIND,
        "embeddings": content(given.embeddings),
        "codes": content(given.codes_file) if given.codes_file else given.described_codes(),
        "items": content(given.table_file),
        "split": split.kind,
        "overlap": split.overlap,
        "test_share": split.test_share,
        "seed": settings.seed,
        "bits": settings.bits if given.codes is None else given.codes.shape[1],
        "threshold": settings.threshold,
        "importance": list(settings.properties.importance),
        "scale": list(settings.properties.scale),
        "pdf": settings.pdf,
        **shown,
    }


def judge(
    given: Given, division: Division, settings: Settings, root: Path, *, redo: Collection[str] = ()
) -> None:
    """Judge in the workdir `root` unless that is done.

    Test items are the queries, training and validation items the archive. A query's own scan is
    never returned, except under the paper's split of slices.

    Args:
      given: from `read_given`.
      division: from `divide`.
      settings: codes and figures.
      root: a workdir that holds no run.
      redo: may name the stage `evaluation`, to judge again.

    Raises:
      StageError: the workdir holds a run.
      ConfigError: `redo` names another stage.
    """
    require_own(root)
    if other := [name for name in redo if name != STAGE]:
        raise ConfigError(f"{other[0]!r} cannot be computed again here: {STAGE} is the only stage")
    stages.request_redo(root, stages.to_redo(root, redo))
    stages.run_stage(
        root,
        STAGE,
        stage_inputs(given, division.split, settings),
        lambda out: _judge(given, division, settings, out),
    )


def _judge(given: Given, division: Division, settings: Settings, out: Path) -> None:
    side = division.side
    labels = np.array([item.label for item in given.table])
    stored = item_store.stored_class_names(given.table_file.parent)
    derived = items.class_names(labels, np.array([item.diameter_mm for item in given.table]))
    class_names = stored if len(stored) > labels.max() else derived
    rows = [np.flatnonzero(np.isin(side, names)) for names in (("test",), ARCHIVE)]
    queries, gallery = _sides(given, rows, side, settings)
    names, patients = (f(given.table)[rows[0]] for f in (items.item_names, items.patients))
    found = assess.assess(
        queries,
        gallery,
        SearchSettings(
            classes=len(class_names),
            threshold=settings.threshold,
            fine="embedding",
            own_group=division.split.kind == "slices",
            weights=settings.properties.weights(),
            scales=settings.properties.scales(),
        ),
        class_names=class_names,
        names=names,
        patients=patients,
    )
    files.write_json(
        out / runs.JUDGED,
        {
            "embeddings": str(given.embeddings),
            "vectors": list(given.vectors.shape),
            "codes": given.described_codes(),
            "items": str(given.table_file),
            "split": division.split.kind,
            "seed": settings.seed,
            "pdf": settings.pdf,
            "leaks": division.leaks,
        },
    )
    images = given.images
    results.write_evaluation(
        found,
        out,
        dataset={
            name: np.bincount(labels[side == name], minlength=len(class_names)).tolist()
            for name in splits.SIDES
        },
        images=None if images is None else (images[rows[0]], images[rows[1]]),
        pdf=settings.pdf,
    )
    width = found.evaluation.counts["bits"]
    print(f"  {len(queries)} queries, archive of {len(gallery)} items, codes of {width} bits")
    print(results.in_words(found))


def _sides(
    given: Given, rows: Sequence[np.ndarray], side: np.ndarray, settings: Settings
) -> tuple[Embedded, Embedded]:
    """Queries and archive with the codes of the baselines."""
    sources = ("embedding",) if given.images is None else ("embedding", "pixels")
    queries, gallery = baselines.with_codes(
        *(_embedded(given, part, settings) for part in rows),
        fitted=side[rows[1]] == "train",
        bits=settings.bits if given.codes is None else given.codes.shape[1],
        seed=settings.seed,
        sources=sources,
    )
    if given.codes is not None:
        return queries, gallery
    return (
        dataclasses.replace(queries, bits=queries.codes["itq_embedding"]),
        dataclasses.replace(gallery, bits=gallery.codes["itq_embedding"]),
    )


def _embedded(given: Given, rows: np.ndarray, settings: Settings) -> Embedded:
    """The items `rows` in the form that the evaluation takes."""

    def column(name: str) -> np.ndarray:
        return np.array([getattr(given.table[row], name) for row in rows])

    features = {"embedding": given.vectors[rows]}
    if given.images is not None:
        features["pixels"] = given.images[rows].reshape(len(rows), -1)
        features["hog"] = baselines.hog(given.images[rows])
    names = column("image")
    codes = given.codes
    return Embedded(
        labels=column("label").astype(np.int32),
        scans=column("scan"),
        diameters_mm=column("diameter_mm"),
        bits=np.zeros((len(rows), settings.bits), bool) if codes is None else codes[rows],
        features=features,
        names=np.where(names == "", column("nodule"), names),
        malignancy=column("malignancy"),
        nodules=items.nodule_names([given.table[row] for row in rows]),
        properties=properties.columns([given.table[row] for row in rows]),
    )


# --- reading --------------------------------------------------------------------------------------


def read_array(path: Path, count: int, table: Path) -> np.ndarray:
    """A matrix of numbers with a row for each of `count` items of `table`.

    Raises:
      FileNotFoundError: no such file.
      ValueError: not a matrix of numbers, or its rows are not those of the table.
    """
    if wrong := files.no_file(path):
        raise FileNotFoundError(f"{path}: {wrong}")
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path}: not an .npy array ({error}); write it with np.save") from None
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "biuf":
        kind = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise ValueError(f"{path}: {kind}, must be one array of numbers [N, D]")
    if len(array) != count or array.shape[1] == 0:
        raise ValueError(
            f"{path}: {array.shape[0]} rows of {array.shape[1]} numbers, but {table} has {count} "
            "items; give a row of at least one number for each item, in the table's order"
        )
    return array


def read_vectors(path: Path, count: int, table: Path) -> np.ndarray:
    """The vectors, float [N, D].

    Raises:
      ValueError: as `read_array`, or a number is not finite.
    """
    array = read_array(path, count, table)
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise ValueError(f"{path}: row {row} holds NaN or infinity; nothing can rank it")
    return array.astype(np.float64 if array.dtype.itemsize == 8 else np.float32)


def read_codes(path: Path, count: int, table: Path) -> np.ndarray:
    """The codes, bool [N, h].

    Raises:
      ValueError: as `read_array`, or an entry is neither 0 nor 1.
    """
    array = read_array(path, count, table)
    if not np.isin(array, (0, 1)).all():
        raise ValueError(
            f"{path}: holds values other than 0 and 1; unpack packed codes with np.unpackbits, "
            "and turn signs into bits with codes > 0"
        )
    return array.astype(bool)


def read_images(root: Path, table: Sequence[items.Item], *, size_px: int) -> np.ndarray | None:
    """The items' images, uint8 [N, S, S]; None, with a message, if some are missing."""
    missing = [item.image for item in table if not item.image or not (root / item.image).is_file()]
    if missing:
        print(
            f"  note: {len(missing)} of {len(table)} images are missing next to items.csv "
            f"(first: {missing[0] or 'no name'}); judged without panels, pixels and HOG, and "
            "without looking for images on two sides of the split"
        )
        return None
    loaded = load_images([root / item.image for item in table], Items())
    return np.stack([views.resize(image, size_px) for image in loaded])
