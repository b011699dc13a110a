"""The real command lines as two processes, compared with one.

`kill_several.py` does the same with four processes, kills them, and resumes with other numbers.
"""

import json

import pytest
from cli import call
from several import (
    FLAGS,
    archive_differences,
    copy_stages,
    largest_difference,
    one_message,
    ranking_differences,
    run,
    write_folder,
)

from inres.learning.logs import read_log

pytestmark = pytest.mark.e2e

PREPARED = ("prepare", "split")


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    root = tmp_path_factory.mktemp("several")
    write_folder(root / "data")
    return (*FLAGS, f"--config.data.root={root / 'data'}")


@pytest.fixture(scope="module")
def alone(flags, tmp_path_factory):
    """The workdir of one process, without index and evaluation."""
    workdir = tmp_path_factory.mktemp("workdirs") / "one"
    for stage in (*PREPARED, "segment", "train"):
        done = call(stage, *flags, f"--workdir={workdir}")
        assert done.returncode == 0, done.stdout + done.stderr
    return workdir


@pytest.fixture(scope="module")
def together(alone, flags):
    """The workdir of two processes that began with the same items, and what they printed."""
    workdir = copy_stages(alone, alone.parent / "two", PREPARED)
    done = run(2, "reproduce", *flags, f"--workdir={workdir}")
    assert done.returncode == 0, done.stdout + done.stderr
    return workdir, done


def test_two_processes_learn_the_same_weights_up_to_rounding(alone, together):
    workdir, _ = together
    assert largest_difference(alone, workdir, "segment") < 1e-5
    assert largest_difference(alone, workdir) < 1e-5
    ours, theirs = (read_log(one / "train" / "log.jsonl") for one in (alone, workdir))
    assert [(row["kind"], row["step"]) for row in ours] == [
        (row["kind"], row["step"]) for row in theirs
    ]
    for mine, other in zip(ours, theirs, strict=True):
        for name in {"loss", "map_macro", "accuracy"} & mine.keys():
            assert other[name] == pytest.approx(mine[name], rel=1e-4)


def test_of_the_same_weights_archive_and_rankings_are_identical(together, flags):
    """One process indexes and evaluates with the weights of two."""
    two, _ = together
    workdir = copy_stages(two, two.parent / "same", (*PREPARED, "segment", "train"))
    for stage in ("index", "evaluate"):
        done = call(stage, *flags, f"--workdir={workdir}")
        assert done.returncode == 0, done.stdout + done.stderr
    assert archive_differences(two, workdir) == []
    assert ranking_differences(two, workdir) == []


def test_one_of_them_speaks_and_writes(together):
    workdir, done = together
    assert done.stdout.count("train: done in") == 1
    assert "the index, spread over 2 processes, agrees with the evaluation on all" in done.stdout
    assert done.stdout.count("  report   ") == 1
    assert json.loads((workdir / "environment.json").read_text())["processes"] == "2"
    assert not [path.name for path in workdir.rglob("*.inres-part")]


def test_an_error_is_told_once(alone, flags):
    done = run(2, "split", *flags, "--config.split.seed=5", f"--workdir={alone}")
    assert done.returncode == 1
    assert "split.seed was 0, now 5" in one_message(done.stderr)
