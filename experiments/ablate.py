"""Ablation: variants of one config, each with several seeds, compared with the first variant.

    python -m experiments.ablate --config=experiments/configs/ablate_losses.py \\
        --workdir=runs/ablate_losses

A config names a base config and its variants, fields and their values. The base may be another file
(--config=experiments/configs/ablate_losses.py:folder), any of its fields is a flag
(--config.base.data.root=FOLDER), and so are the variants and seeds
(--config.variants="({}, {'hash.bits': 64})" --config.seeds="(0,)").

Every run has its own workdir under <workdir>/runs, like one of `experiments.reproduce`; stages that
the variants do not affect are computed once and linked. A complete run is skipped, an interrupted
one continues; the same command, started several times on one workdir, shares the runs out. At the
end the complete runs are compared (a variant that lacks one of the rankings has no row of it, and a
note says so). Writes to <workdir>: ablation.csv, .tex, .md, .json and .png, .svg, .pdf (means over
seeds, intervals over patients, paired differences from the base and their p-values), and
commands.txt, for each run the command that makes it alone.
"""

from experiments import common, configs
from inres.studies import ablation, grid
from inres.system.memory import keep_freed_memory


def run_ablation(arguments: list[str]) -> None:
    """Run every variant that is not complete, then compare them."""
    common.refuse_arguments(arguments)
    if common.REDO.value:
        raise ValueError("--redo: not here; remove the runs to repeat from <workdir>/runs")
    keep_freed_memory()
    checked = ablation.checked(common.given_config(ablation.Ablation))
    grid.run_grid(
        checked,
        common.workdir_path(),
        pristine=configs.load(checked.base_name),
        command=common.command_line(),
    )


if __name__ == "__main__":
    common.launch_with_arguments(run_ablation, required=("config", "workdir"))
