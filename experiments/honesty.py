"""Compare the paper's random split of slices with a split by patient, under one recipe.

    python -m experiments.honesty --config=experiments/configs/honesty.py --workdir=runs/honesty

Both splits are run as folds (`config.split.folds`; three come close to the paper's 70 : 30), so
every item is tested once under each, by networks trained on shares of equal size; the difference is
paired query by query. In addition, the queries of the random split are searched with their own
patient left out (or their scan, if the patient is unknown), which separates what training on a
patient adds from what finding the same patient adds. Works with any config and data:
--config.data.kind=folder --config.data.root=FOLDER. Every fold of both splits is checked before the
first is run.

Writes <workdir>/honesty: inflation.png, .svg, .pdf, inflation.csv, .tex and honesty.json (also how
many items, scans and images are on both sides of each fold); below <workdir> is a workdir for each
split. About 20 minutes for the phantoms on two cores; resumes after an interruption.
"""

from pathlib import Path

from experiments import common
from inres.config import Config
from inres.studies import honesty


def run_honesty(config: Config, root: Path) -> None:
    """Run every fold of both splits, then compare them."""
    honesty.compare_splits(config, root, redo=common.REDO.value, command=common.command_line())


if __name__ == "__main__":
    common.launch(run_honesty)
