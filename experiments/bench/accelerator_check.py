"""All checks of one accelerator, each in a process of its own, in one JSON file.

    python -m experiments.bench.accelerator_check --out=accelerator_check.json

`accelerator_check.sh` is the same with the path set. The checks are those of `device_checks`, then
the benchmark (`experiments/configs/bench_accelerator.py`), search before training. A check that
raises an error, crashes or exceeds its time is recorded as failed, and the next one runs. All
together stop after `--limit_s` seconds; what has not run by then is recorded as such.
"""

import sys
from pathlib import Path

from absl import app, flags

from experiments.bench import check_runner, device_checks
from inres.system import files

OUT = flags.DEFINE_string("out", "accelerator_check.json", "File of the results.")
SMALL = flags.DEFINE_bool("small", False, "Little data, for a CPU.")
LIMIT = flags.DEFINE_float("limit_s", 585.0, "Seconds for all checks together.")
CHECKS = flags.DEFINE_list("checks", [], "Checks to run; default: all.")
ONE = flags.DEFINE_string("one", "", "Internal: run this check in this process.")


def main(arguments: list[str]) -> None:
    """Run the checks; exit code 1 if one fails."""
    if arguments[1:]:
        raise app.UsageError(f"unknown argument {arguments[1]!r}; flags begin with --")
    if ONE.value:
        files.write_json(OUT.value, device_checks.CHECKS[ONE.value](small=SMALL.value))
        return
    names = check_runner.names()
    unknown = [name for name in CHECKS.value if name not in names]
    if unknown:
        raise app.UsageError(f"--checks={unknown[0]}: must be among {', '.join(names)}")
    out = Path(OUT.value).expanduser().resolve()
    record = check_runner.run_all(
        CHECKS.value or names, out, small=SMALL.value, limit_s=LIMIT.value
    )
    print(out)
    sys.exit(0 if record["passed"] else 1)


if __name__ == "__main__":
    app.run(main)
