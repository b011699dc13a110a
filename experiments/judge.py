"""Judge any embedding by the protocol: vectors of another program, and codes if it has any.

    python -m experiments.judge --embeddings=vectors.npy --items=items.csv --workdir=runs/other

vectors.npy holds numbers [N, D], a row for each of items.csv (columns image,scan,label and
optionally patient,nodule,diameter_mm,malignancy,split); --codes=codes.npy gives codes [N, h], 0
and 1. Without codes, the two-stage search uses PCA+ITQ codes of the vectors; ITQ and LSH codes are
judged in any case, fitted on training items. Test items are the queries, training and validation
items the archive; the query's own scan is never returned, unless --split=slices asks for the
paper's split. A split with a scan, a patient or a picture on two sides is refused, or
--overlap=drop leaves out the archive's items. Where the images that items.csv names are there,
panels show them, and pixels and HOG are compared too.

Leaves <workdir>/evaluation and <workdir>/report.html, as `experiments.evaluate` does, in a workdir
of its own. Judging the same again is skipped; other files or settings are refused there, or judged
anew with --redo=evaluation. Seconds for some thousands of items.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from experiments import common
from inres.config import ConfigError, Items, Split
from inres.data import items, splits, views
from inres.data.images import load_images
from inres.data.leaks import leak_lines
from inres.evaluation import baselines, runs
from inres.evaluation.embedded import Embedded
from inres.evaluation.settings import Settings
from inres.pipeline import assess, stages
from inres.report import results
from inres.report.build import build_report
from inres.system import files

EMBEDDINGS = flags.DEFINE_string("embeddings", None, "Vectors, .npy, numbers [N, D].")
CODES = flags.DEFINE_string("codes", None, "Codes, .npy, 0 and 1 (or bool) [N, h].")
ITEMS = flags.DEFINE_string("items", None, "Table of the N items, .csv.")
SPLIT = flags.DEFINE_enum("split", "column", ("column", "patient", "slices"), "Who is a query.")
OVERLAP = flags.DEFINE_enum(
    "overlap", "refuse", ("refuse", "drop"), "Archive items whose like is a query: leave them out?"
)
TEST_SHARE = flags.DEFINE_float("test_share", 0.3, "Share of test items where no column says it.")
BITS = flags.DEFINE_integer("bits", 48, "Length of ITQ and LSH codes; as --codes where given.")
THRESHOLD = flags.DEFINE_integer("threshold", 3, "Candidates differ in fewer bits than this.")
SIZE = flags.DEFINE_integer("size_px", 64, "Side to which images are resized.")
SEED = flags.DEFINE_integer("seed", 0, "Of the split and of the codes.")
PDF = flags.DEFINE_bool("pdf", True, "Figures as PDF, too; the slowest part of a small run.")

KIND = "vectors of another program"
"""Stands in the stage's inputs where a run has its config's `name`, so that no config goes on in a
judged workdir."""
STAGE = "evaluation"
ARCHIVE = ("train", "val")
"""Sides that are searched."""


def main(arguments: list[str]) -> None:
    """Check all input, then judge and write the report."""
    if arguments:
        raise ConfigError(f"unknown argument {arguments[0]!r}; flags begin with --")
    if BITS.value < 1:
        raise ConfigError(f"--bits={BITS.value}: must be at least 1")
    workdir = Path(str(common.WORKDIR.value)).expanduser().resolve()
    path = Path(str(ITEMS.value))
    table = items.read_table(path)
    if table[0].label < 0:  # then all of them
        raise ConfigError(f"{path}: no item has a label, by which rankings are judged")
    vectors = read_vectors(Path(str(EMBEDDINGS.value)), len(table), path)
    codes = read_codes(Path(CODES.value), len(table), path) if CODES.value else None
    images = read_images(path.parent, table)
    rule = Split(
        kind=SPLIT.value, test_share=TEST_SHARE.value, seed=SEED.value, overlap=OVERLAP.value
    )
    try:
        side, leaks = splits.split_items(table, rule, images, setting="--overlap")
    except ValueError as error:
        raise type(error)(f"{path}: {error}") from None
    for line in leak_lines(leaks):
        print(f"  note: {line}")
    require_relevant(np.array([item.label for item in table]), side, path)
    with stages.lock(workdir):
        require_own(workdir)
        made_anew(workdir)
        stages.run(
            workdir,
            STAGE,
            inputs(table, codes, images),
            lambda out: judge(out, table, side, leaks, vectors, codes, images),
        )
        common.describe_environment(workdir)
        page = build_report(workdir)
    print(f"  report   {page}\n  metrics  {workdir / 'evaluation' / 'metrics.json'}")


def require_relevant(labels: np.ndarray, side: np.ndarray, table: Path) -> None:
    """Check that some query has an item of its class in the archive, which training and validation
    items are; `table` is named in the error.

    Raises:
      ConfigError: none has, so that no ranking can be scored.
    """
    asked, archived = (
        sorted(set(labels[np.isin(side, names)].tolist())) for names in (("test",), ARCHIVE)
    )
    if not set(asked) & set(archived):
        raise ConfigError(
            f"{table}: test items are of the classes {asked}, training and validation items of "
            f"{archived}; nothing that is searched for can be found. Mend the labels or the split "
            "column, or use --split=patient"
        )


def require_own(workdir: Path) -> None:
    """Check that `workdir` holds nothing but what was judged there.

    Raises:
      StageError: it holds another run; names what is there.
    """
    marks = [workdir / STAGE / name for name in ("stage.json", "begun.json")]
    mine = any(
        files.read_json(mark)["inputs"].get("name") == KIND for mark in marks if mark.is_file()
    )
    foreign = [workdir / name for name in ("config.json", "folds", *common.STAGES)]
    if mine:
        foreign.remove(workdir / STAGE)
    there = [path for path in foreign if path.exists()]
    if there:
        raise stages.StageError(
            f"{workdir} holds another run ({there[0].name}), whose evaluation would be lost; "
            "judge in another --workdir"
        )


def made_anew(workdir: Path) -> None:
    """Remove what --redo names, or what was left unfinished: judging begins in an empty folder.

    Raises:
      ValueError: --redo names another stage.
    """
    other = [stage for stage in common.REDO.value if stage != STAGE]
    if other:
        raise ValueError(f"--redo={other[0]}: must be {STAGE}, the only stage here")
    if common.REDO.value or not (workdir / STAGE / "stage.json").is_file():
        stages.forget(workdir, STAGE)


def inputs(
    table: Sequence[items.Item], codes: np.ndarray | None, images: np.ndarray | None
) -> dict[str, Any]:
    """All on which the numbers depend, as inputs of the stage; of files their content."""
    shown: dict[str, Any] = {"images": "none"}
    if images is not None:
        digest = hashlib.sha256(images.data).hexdigest()
        shown = {"images": f"sha256 {digest[:16]}", "size_px": SIZE.value}

    def content(path: str | None) -> str:
        return f"sha256 {files.sha256(Path(str(path)))[:16]}"

    return {
        "name": KIND,
        "embeddings": content(EMBEDDINGS.value),
        "codes": content(CODES.value) if CODES.value else "PCA+ITQ of the vectors",
        "items": content(ITEMS.value),
        "split": SPLIT.value,
        "overlap": OVERLAP.value,
        "test_share": TEST_SHARE.value,
        "seed": SEED.value,
        "bits": BITS.value if codes is None else codes.shape[1],
        "threshold": THRESHOLD.value,
        "pdf": PDF.value,
        **shown,
    }


def judge(
    out: Path,
    table: Sequence[items.Item],
    side: np.ndarray,
    leaks: dict[str, Any],
    vectors: np.ndarray,
    codes: np.ndarray | None,
    images: np.ndarray | None,
) -> None:
    """Judge and write the folder `out`.

    Args:
      out: `<workdir>/evaluation`, empty.
      table: the N items.
      side: str [N], `train`, `val`, `test` or empty.
      leaks: what stands on two sides, of `splits.split_items`.
      vectors: float [N, D].
      codes: bool [N, h], or None for ITQ codes of the vectors.
      images: uint8 [N, S, S], or None.
    """
    bits = BITS.value if codes is None else codes.shape[1]
    parts = [np.flatnonzero(np.isin(side, names)) for names in (("test",), ARCHIVE)]
    sources = ("embedding",) if images is None else ("embedding", "pixels")
    queries, gallery = baselines.with_codes(
        *(embedded(table, rows, vectors, codes, images) for rows in parts),
        fitted=side[parts[1]] == "train",
        bits=bits,
        seed=SEED.value,
        sources=sources,
    )
    if codes is None:
        queries, gallery = (
            dataclasses.replace(one, bits=one.codes["itq_embedding"]) for one in (queries, gallery)
        )
    labels = np.array([item.label for item in table])
    class_names = items.class_names(labels, np.array([item.diameter_mm for item in table]))
    names, patients = (f(table)[parts[0]] for f in (items.item_names, items.patients))
    found = assess.assess(
        queries,
        gallery,
        Settings(
            classes=len(class_names),
            threshold=THRESHOLD.value,
            fine="embedding",
            own_group=SPLIT.value == "slices",
        ),
        class_names=class_names,
        names=names,
        patients=patients,
    )
    files.write_json(
        out / runs.JUDGED,
        {
            "embeddings": str(EMBEDDINGS.value),
            "vectors": list(vectors.shape),
            "codes": str(CODES.value) if CODES.value else "PCA+ITQ of the vectors",
            "items": str(ITEMS.value),
            "split": SPLIT.value,
            "seed": SEED.value,
            "pdf": PDF.value,
            "leaks": leaks,
        },
    )
    results.write_evaluation(
        found,
        out,
        dataset={
            name: np.bincount(labels[side == name], minlength=len(class_names)).tolist()
            for name in splits.SIDES
        },
        images=None if images is None else (images[parts[0]], images[parts[1]]),
        pdf=PDF.value,
    )
    width = found.evaluation.counts["bits"]
    print(f"  {len(queries)} queries, archive of {len(gallery)} items, codes of {width} bits")
    print(results.in_words(found))


def embedded(
    table: Sequence[items.Item],
    rows: np.ndarray,
    vectors: np.ndarray,
    codes: np.ndarray | None,
    images: np.ndarray | None,
) -> Embedded:
    """Some items as the evaluation wants them."""

    def column(name: str) -> np.ndarray:
        return np.array([getattr(table[row], name) for row in rows])

    features = {"embedding": vectors[rows]}
    if images is not None:
        features["pixels"] = images[rows].reshape(len(rows), -1)
        features["hog"] = baselines.hog(images[rows])
    names = column("image")
    return Embedded(
        labels=column("label").astype(np.int32),
        scans=column("scan"),
        diameters_mm=column("diameter_mm"),
        bits=np.zeros((len(rows), BITS.value), bool) if codes is None else codes[rows],
        features=features,
        names=np.where(names == "", column("nodule"), names),
        malignancy=column("malignancy"),
        nodules=items.nodule_names([table[row] for row in rows]),
    )


def read_array(path: Path, count: int, table: Path) -> np.ndarray:
    """A matrix with a row for each of `count` items.

    Raises:
      FileNotFoundError: no such file.
      ValueError: not a matrix of numbers, or its rows are not those of the table.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
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


def read_images(root: Path, table: Sequence[items.Item]) -> np.ndarray | None:
    """The items' images, uint8 [N, S, S]; None, and a word of it, where some are not there."""
    missing = [item.image for item in table if not item.image or not (root / item.image).is_file()]
    if missing:
        print(
            f"  note: {len(missing)} of {len(table)} images are not beside items.csv "
            f"(first: {missing[0] or 'no name'}); judged without panels, pixels "
            "and HOG, and pictures on two sides of the split are not looked for"
        )
        return None
    loaded = load_images([root / item.image for item in table], Items())
    return np.stack([views.resize(image, SIZE.value) for image in loaded])


if __name__ == "__main__":
    common.launch_with_arguments(
        main, required=("embeddings", "items", "workdir"), optional=("redo",)
    )
