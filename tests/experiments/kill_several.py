"""Several processes of one command against one, killed at random and resumed with other numbers.

    PYTHONPATH=.:tests:tests/experiments python tests/experiments/kill_several.py --kills 12

Runs a small config on images of discs (or on phantoms, --phantoms) with one process, and with two
and four from the same prepared items. Prints
how much the weights differ, and whether archives and rankings are identical given the weights of
one process. Then four processes run, one of them, chosen at random, is killed (SIGKILL) at a random
moment, and the same command continues with 2, 1 or 4 processes, and so on, until there were enough
kills. After each kill all processes must end, with one message and no traceback; the final weights
must be those of one process up to rounding. At last Ctrl-C ends two processes, which continue.
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import quick
import several
from processes import children, is_running

COUNTS = (4, 2, 1)
FLAGS, PREPARED = [], []
"""Set by `main`: the flags of the run, and the stages that are made once."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", type=Path, default=None, help="kept; default: a temporary one")
    parser.add_argument("--phantoms", action="store_true")
    given = parser.parse_args()
    # Background commands of a shell ignore Ctrl-C, and so would the commands that are interrupted.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        root = given.workdir or Path(folder)
        one = root / "one"
        if given.phantoms:
            FLAGS.append("--config=experiments/configs/smoke.py")
            PREPARED.append("scans")
        else:
            several.write_folder(root / "data")
            longer = ("--config.segment.steps=60", "--config.train.epochs=20")
            FLAGS.extend((*several.FLAGS, f"--config.data.root={root / 'data'}", *longer))
        PREPARED.extend(("prepare", "split"))
        finish(1, one)
        for processes in (2, 4):
            compare(one, root, processes)
        rng = random.Random(given.seed)
        kill(one, root / "killed", given.kills, rng)
        interrupt(one, root / "interrupted", rng)


def finish(processes, workdir):
    began = time.monotonic()
    done = several.run(processes, "reproduce", *FLAGS, f"--workdir={workdir}")
    assert done.returncode == 0, done.stdout + done.stderr
    print(f"{processes} processes: {time.monotonic() - began:.0f} s", flush=True)


def compare(one, root, processes):
    """Print how the results of so many processes differ from those of one."""
    other = several.copy_stages(one, root / f"from-items-{processes}", PREPARED)
    finish(processes, other)
    for stage in ("segment", "train"):
        found = several.largest_difference(one, other, stage)
        print(f"  {stage}: weights differ by at most {found:.1e}", flush=True)
    stages = [*PREPARED, "segment", "train"]
    same = several.copy_stages(one, root / f"from-weights-{processes}", stages)
    finish(processes, same)
    print(f"  files of the archive that differ: {several.archive_differences(one, same)}")
    print(f"  rankings that differ: {several.ranking_differences(one, same)}", flush=True)


def kill(one, workdir, kills, rng):
    """Kill and resume until there were so many kills; then finish and compare."""
    several.copy_stages(one, workdir, PREPARED)
    done, times, stages = 0, [], {}
    while done < kills:
        processes = COUNTS[done % len(COUNTS)]
        child = begin(processes, workdir)
        if ended(child, rng.uniform(10, 60)):
            print(f"  {processes} processes finished before the kill; the last stages again")
            assert child.returncode == 0, child.communicate()
            for stage in ("train", "index", "evaluation"):
                shutil.rmtree(workdir / stage)
            continue
        members = children(child.pid) if processes > 1 else [child.pid]
        victim = rng.choice(members)
        began = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        output, error = child.communicate(timeout=60)
        times.append(time.monotonic() - began)
        assert not any(map(is_running, members))
        stage = (re.findall(r"^(\w+): started", output, re.MULTILINE) or ["start"])[-1]
        stages[stage] = stages.get(stage, 0) + 1
        if processes > 1:
            assert "was ended by SIGKILL" in several.one_message(error)
            assert child.returncode == 137
        done += 1
        print(f"  kill {done}: process {members.index(victim)} of {processes}, {stage}", flush=True)
    finish(2, workdir)
    print(f"{done} kills, by stage {stages}; all ended within {max(times):.1f} s")
    for stage in ("segment", "train"):
        found = several.largest_difference(one, workdir, stage)
        print(f"  {stage}: weights differ by at most {found:.1e}")


def interrupt(one, workdir, rng):
    """Ctrl-C ends all processes with one message, and the command continues."""
    several.copy_stages(one, workdir, PREPARED)
    child = begin(2, workdir)
    assert not ended(child, rng.uniform(15, 30))
    members = children(child.pid)
    child.send_signal(signal.SIGINT)
    _, error = child.communicate(timeout=90)
    assert child.returncode == 130, child.returncode
    assert error.count("interrupted; run the same command again to continue") == 1, error
    assert "Traceback" not in error, error
    assert not any(map(is_running, members))
    finish(2, workdir)
    print("interrupted and continued")


def begin(processes, workdir):
    return subprocess.Popen(
        several.command(processes, "reproduce", *FLAGS, f"--workdir={workdir}"),
        cwd=several.ROOT,
        env=quick.environment() | {"JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(child, seconds):
    """Whether a process ends in so many seconds."""
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
