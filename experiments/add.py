"""Add scans to the archive of a finished run, without training or building it again.

    python -m experiments.add --workdir=runs/luna16 --scans=cases.csv
    python -m experiments.add --workdir=runs/luna16 --scans=LIDC \\
        --config=experiments/configs/lidc.py

--workdir is a workdir with a finished run, or an exported run. --scans is a table of any scans
(`inres/sources/cases.py`), or the folder of a data source: that of --kind, of --config, or the
run's own. With --config, its fields `data.*` say how the source is read.

Every scan is prepared, segmented and encoded as the archive's items were; a scan that is in the
archive already is skipped. An interrupted command continues when it is run again. Programs that
have the archive open see the new items when they open it again; `experiments.serve` sees them with
the next query.
"""

import dataclasses
from pathlib import Path

from absl import flags

from experiments import common
from inres import config as config_lib
from inres.archive import Archive
from inres.config import Config
from inres.system.messages import listed

SCANS = flags.DEFINE_string("scans", None, "A table of scans, or the folder of a data source.")
KIND = flags.DEFINE_string("kind", "", "Data source, if it is not that of the run or --config.")
NORMALS = flags.DEFINE_integer(
    "normals", 0, "Number of normal slices to add, over all scans.", lower_bound=0
)
WORKERS = flags.DEFINE_integer("workers", 0, "Processes for scans; 0: one per core.", lower_bound=0)


def add(arguments: list[str]) -> None:
    """Add the scans of --scans to the run in --workdir."""
    common.refuse_arguments(arguments)
    data = None
    if common.CONFIG.value is not None:
        data = config_lib.checked(common.given_config(Config)).data
    archive = Archive.open(common.workdir_path())
    data = archive.config.data if data is None else data
    data = dataclasses.replace(data, scheduler=common.SCHEDULER.value or data.scheduler)
    before = len(archive)
    found = archive.add(
        Path(str(SCANS.value)),
        kind=KIND.value,
        normals=NORMALS.value,
        workers=WORKERS.value,
        data=data,
    )
    for note in found.notes:
        print(f"  note: {note}")
    if found.skipped:
        print(f"  skipped, in the archive already:\n{listed(found.skipped)}")
    print(
        f"added {found.items} items of {found.scans} scans; the archive holds {len(archive)} items "
        f"(before: {before})"
    )


if __name__ == "__main__":
    common.launch_with_arguments(
        add, required=("workdir", "scans"), optional=("config", "scheduler")
    )
