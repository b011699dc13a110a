"""Judge vectors of another program, and codes if it has any, by the protocol of this one.

    python -m experiments.judge --embeddings=vectors.npy --items=items.csv --workdir=runs/other

vectors.npy holds numbers [N, D], a row for each row of items.csv (columns image,scan,label and
optionally patient,nodule,diameter_mm,malignancy,split; other columns of numbers are properties, by
which similarity is measured); --codes=codes.npy gives codes [N, h] of 0 and 1. Without codes, the
two-stage search uses PCA+ITQ codes of the vectors; ITQ and LSH codes, fitted on training items, are
judged in any case. Test items are the queries, training and validation items the archive; a query's
own scan is never returned, except with --split=slices, the paper's split. A split with a scan, a
patient or an image on two sides is refused; --overlap=drop leaves out the archive's items instead.
If the images named in items.csv exist, panels show them, and pixels and HOG are compared too.

Writes <workdir>/evaluation and <workdir>/report.html like `experiments.evaluate`, in a workdir of
its own. Judging the same again is skipped; other files or settings are refused there, or judged
again with --redo=evaluation. Takes seconds for some thousands of items.
"""

from pathlib import Path

from absl import flags

from experiments import common
from inres.config import ConfigError, Properties, Split
from inres.data import properties
from inres.data.leaks import leak_lines
from inres.data.splits import LeakError
from inres.pipeline import judge, stages, workdir
from inres.report.build import build_report

EMBEDDINGS = flags.DEFINE_string("embeddings", None, "Vectors, .npy, numbers [N, D].")
CODES = flags.DEFINE_string("codes", None, "Codes, .npy, 0 and 1 (or bool) [N, h].")
ITEMS = flags.DEFINE_string("items", None, "Table of the N items, .csv.")
SPLIT = flags.DEFINE_enum(
    "split", "column", ("column", "patient", "slices"), "Which items are queries."
)
OVERLAP = flags.DEFINE_enum(
    "overlap", "refuse", ("refuse", "drop"), "What to do with archive items that overlap queries."
)
TEST_SHARE = flags.DEFINE_float("test_share", 0.3, "Share of test items, without a split column.")
BITS = flags.DEFINE_integer("bits", 48, "Length of ITQ and LSH codes; with --codes, theirs.")
THRESHOLD = flags.DEFINE_integer("threshold", 3, "The pool differs in fewer bits than this.")
SIZE = flags.DEFINE_integer("size_px", 64, "Side to which images are resized.")
SEED = flags.DEFINE_integer("seed", 0, "Seed of the split and of the codes.")
IMPORTANCE = flags.DEFINE_list("importance", [], "Weights of properties: texture=2,subtlety=0.")
SCALE = flags.DEFINE_list("scale", [], "Differences without any similarity: texture=1.5.")
PDF = flags.DEFINE_bool("pdf", True, "Draw figures as PDF too: the slowest part of a small run.")


def judge_vectors(arguments: list[str]) -> None:
    """Check all input, then judge and write the report."""
    common.refuse_arguments(arguments)
    if BITS.value < 1:
        raise ConfigError(f"--bits={BITS.value}: must be at least 1")
    if other := [stage for stage in common.REDO.value if stage != judge.STAGE]:
        raise ConfigError(f"--redo={other[0]}: must be {judge.STAGE}, the only stage here")
    given = judge.read_given(
        Path(str(EMBEDDINGS.value)),
        Path(str(ITEMS.value)),
        codes=Path(CODES.value) if CODES.value else None,
        size_px=SIZE.value,
    )
    split = Split(
        kind=SPLIT.value, test_share=TEST_SHARE.value, seed=SEED.value, overlap=OVERLAP.value
    )
    try:
        division = judge.divide(given, split)
    except LeakError as error:
        raise LeakError(f"{error}; here, that is --overlap=drop") from None
    for line in leak_lines(division.leaks):
        print(f"  note: {line}")
    own = Properties(importance=tuple(IMPORTANCE.value), scale=tuple(SCALE.value))
    try:
        named = {"properties.importance": own.weights(), "properties.scale": own.scales()}
        properties.require_columns(named, given.table)
    except ConfigError as error:
        raise ConfigError(f"{given.table_file}: {error}") from None
    settings = judge.Settings(
        threshold=THRESHOLD.value,
        bits=BITS.value,
        size_px=SIZE.value,
        seed=SEED.value,
        pdf=PDF.value,
        properties=own,
    )
    root = common.workdir_path()
    with stages.lock(root):
        judge.judge(given, division, settings, root, redo=common.REDO.value)
        workdir.describe_environment(root, command=common.command_line())
        page = build_report(root)
    print(f"  report   {page}\n  metrics  {root / 'evaluation' / 'metrics.json'}")


if __name__ == "__main__":
    common.launch_with_arguments(
        judge_vectors, required=("embeddings", "items", "workdir"), optional=("redo",)
    )
