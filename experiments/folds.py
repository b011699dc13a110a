"""Cross-validation: a run for each fold, with the queries of all folds pooled.

    python -m experiments.folds --config=experiments/configs/luna16.py \\
        --config.data.root=LUNA16 --workdir=runs/luna16_folds

The largest class of LUNA16 has 19 nodules, so one fold tests two of them; pooled, every item is
tested once. Folds are the official subsets, or --config.split.folds drawn at random
(--config.split.kind=patient). Fold i tests on subset i and validates on the one before it, if the
config validates at all. The items are prepared once and shared; everything that learns, including
the U-Net, is trained for each fold in <workdir>/folds/<i>, a workdir like any other. After an
interruption the command continues; --only=2,3 runs some folds, for example on another machine,
whose folders folds/2 and folds/3 are then copied.

Writes <workdir>/evaluation: per_query.npz (as of one run, for `experiments.compare`), folds.json,
rankings.csv and rankings.tex, with intervals over patients; and nodules/, the searches for whole
nodules, if no nodule is in two folds. A query is searched in its own fold's archive by its own
fold's network; only the scores are pooled.
"""

from pathlib import Path

from absl import flags

from experiments import common
from inres.config import Config
from inres.pipeline import workdir
from inres.pipeline.prepare import prepare_items
from inres.studies import folds

ONLY = flags.DEFINE_list("only", [], "Folds to run; empty: all of them, and pool them.")


def run_folds(config: Config, root: Path) -> None:
    """Run the folds and pool them."""
    workdir.require_output(root / "evaluation", folds.POOLED)
    prepare_items(config, root)
    count = folds.fold_count(config, root)
    folds.check_folds(config, root, count)
    chosen = chosen_folds(count) or list(range(count))
    folds.request_redo(root, chosen, common.REDO.value)
    for number, fold in enumerate(chosen, start=1):
        print(f"fold {fold}, {number} of {len(chosen)}")
        folds.run_fold(config, root, fold, count, command=common.command_line())
    if len(chosen) == count:
        folds.pool(root, count)


def chosen_folds(count: int) -> list[int]:
    """The folds that --only names."""
    bad = [text for text in ONLY.value if not text.isdigit() or int(text) >= count]
    if bad:
        raise ValueError(f"--only={','.join(ONLY.value)}: {bad[0]!r} is no fold of 0..{count - 1}")
    return sorted({int(text) for text in ONLY.value})


if __name__ == "__main__":
    common.launch(run_folds)
