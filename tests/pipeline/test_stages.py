import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inres.pipeline import stages
from inres.system import files


def test_a_finished_stage_is_skipped_and_says_so(tmp_path, capsys):
    calls = []
    for _ in range(2):
        mark = stages.run_stage(tmp_path, "train", {"a": {"b": (1, 2)}}, calls.append)
    assert calls == [tmp_path / "train"]
    assert "done already, skipped" in capsys.readouterr().out
    assert stages.done(tmp_path, "train") == mark


def test_other_inputs_are_refused_by_name(tmp_path):
    stages.run_stage(tmp_path, "train", {"a.b": 1}, lambda _: None)
    with pytest.raises(stages.StageError, match=r"a\.b was 1, now 2"):
        stages.run_stage(tmp_path, "train", {"a.b": 2}, lambda _: None)
    stages.request_redo(tmp_path, ["train"])
    stages.run_stage(tmp_path, "train", {"a.b": 2}, lambda _: None)
    assert stages.recorded(tmp_path / "train")["inputs"] == {"a.b": 2}


def test_an_interrupted_stage_finds_its_work_again(tmp_path):
    def stop(root):
        (root / "half").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stages.run_stage(tmp_path, "train", {"a": 1}, stop)
    with pytest.raises(stages.StageError, match="not made yet"):
        stages.done(tmp_path, "train")
    with pytest.raises(stages.StageError, match="a was 1, now 2"):
        stages.run_stage(tmp_path, "train", {"a": 2}, stop)
    seen = []
    stages.run_stage(tmp_path, "train", {"a": 1}, lambda root: seen.extend(root.glob("half")))
    assert len(seen) == 1


def test_a_complete_stage_without_its_marker_continues_under_the_same_id(tmp_path):
    """So the stages that were made from it stay valid: a resumed training has the same weights."""
    calls = []

    def train(root):
        (root / "weights").write_text("x")
        calls.append(root)

    stages.run_stage(tmp_path, "train", {"a": 1}, train)
    made = stages.recorded(tmp_path / "train")
    mark = stages.done(tmp_path, "train")
    stages.run_stage(tmp_path, "index", {"upstream.train": mark}, lambda _: None)
    (tmp_path / "train" / "stage.json").unlink()
    with pytest.raises(stages.StageError, match="other results of the train stage"):
        stages.require_consistent(tmp_path)
    with pytest.raises(stages.StageError, match="a was 1, now 2"):
        stages.run_stage(tmp_path, "train", {"a": 2}, train)
    stages.run_stage(tmp_path, "train", {"a": 1}, train)
    assert len(calls) == 2
    assert stages.recorded(tmp_path / "train")["id"] == made["id"]
    stages.require_consistent(tmp_path)
    stages.request_redo(tmp_path, ["train"])
    stages.run_stage(tmp_path, "train", {"a": 1}, train)
    assert stages.recorded(tmp_path / "train")["id"] != made["id"]


def test_what_was_refused_before_it_made_anything_goes_on_mended(tmp_path):
    def refuse(_):
        raise ValueError("mend the config")

    with pytest.raises(ValueError, match="mend the config"):
        stages.run_stage(tmp_path, "split", {"a": 1}, refuse)
    stages.run_stage(tmp_path, "split", {"a": 2}, lambda _: None)
    assert files.read_json(tmp_path / "split" / "stage.json")["inputs"] == {"a": 2}


def test_unfinished_work_goes_on_where_what_changed_is_checked_by_it(tmp_path):
    def stop(root):
        (root / "half").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stages.run_stage(tmp_path, "prepare", {"a": 1, "files": "x"}, stop)
    may_change = ("files",)
    with pytest.raises(stages.StageError, match="a was 1, now 2"):
        stages.run_stage(tmp_path, "prepare", {"a": 2, "files": "y"}, stop, may_change=may_change)
    with pytest.raises(stages.StageError, match="data: input files changed"):
        stages.run_stage(tmp_path, "prepare", {"a": 1, "files": "y"}, stop)
    seen = []
    inputs = {"a": 1, "files": "y"}
    work = lambda root: seen.extend(root.glob("half"))  # noqa: E731
    stages.run_stage(tmp_path, "prepare", inputs, work, may_change=may_change)
    assert len(seen) == 1
    with pytest.raises(stages.StageError, match="input files changed"):
        stages.run_stage(tmp_path, "prepare", {"a": 1, "files": "z"}, work, may_change=may_change)


ROOT = Path(__file__).resolve().parents[2]
KILLED = """
import os, signal, sys
from pathlib import Path
from inres.pipeline import stages
from inres.system import files

def work(out):
    (out / "scans").mkdir()
    (out / "scans" / "whole").touch()
    with files.atomic_path(out / "a.npy"), files.atomic_path(out / "scans" / "b.npz") as part:
        part.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)

stages.run_stage(Path(sys.argv[1]), "train", {}, work)
"""


def kill(workdir):
    """Leave a stage `train` in which two files were being written; give their directories."""
    run = subprocess.run([sys.executable, "-c", KILLED, workdir], cwd=ROOT)
    assert run.returncode == -signal.SIGKILL
    left = [path for path in workdir.rglob(".*") if path.is_dir()]
    assert len(left) == 2
    return left


def test_half_written_files_of_a_killed_run_are_removed_before_work(tmp_path):
    left = kill(tmp_path)
    seen = []
    stages.run_stage(tmp_path, "train", {}, lambda root: seen.extend(root.rglob("*")))
    root = tmp_path / "train"
    assert {*seen} == {root / "begun.json", root / "scans", root / "scans" / "whole"}
    assert not any(path.exists() for path in left)


def test_files_being_written_elsewhere_are_left_alone(tmp_path):
    """Of another stage, and of a workdir whose stage is linked, which has a lock of its own."""
    left = kill(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "train").symlink_to(os.path.join("..", "a", "train"))
    stages.run_stage(tmp_path / "a", "split", {}, lambda _: None)
    stages.run_stage(tmp_path / "b", "train", {}, lambda _: None)
    assert all(path.is_dir() for path in left)


def test_a_workdir_has_one_user(tmp_path):
    with (
        stages.lock(tmp_path),
        pytest.raises(stages.StageError, match="another process"),
        stages.lock(tmp_path),
    ):
        pass
    with stages.lock(tmp_path):
        pass


def test_changed_files_are_other_inputs(tmp_path):
    path = tmp_path / "a"
    path.write_text("1")
    before = stages.describe_files([path], tmp_path)
    assert stages.describe_files([path], tmp_path) == before
    path.write_text("12")
    assert stages.describe_files([path], tmp_path) != before


def test_workdirs_that_share_take_finished_stages_of_the_same_inputs(tmp_path):
    made = []

    def work(root):
        made.append(root)
        (root / "result").write_text("x")

    a, b, c = (tmp_path / name for name in "abc")
    stages.run_stage(a, "train", {"n": 1}, work)
    stages.run_stage(b, "train", {"n": 1}, work)
    assert made == [a / "train", b / "train"]  # nobody said that they share
    stages.share(tmp_path)
    mark = stages.run_stage(c, "train", {"n": 1}, work)
    assert len(made) == 2
    assert (c / "train" / "result").read_text() == "x"
    assert stages.done(c, "train") == mark
    stages.request_redo(c, ["train"])
    stages.run_stage(c, "train", {"n": 2}, work)
    assert (a / "train" / "result").is_file()
    assert made[2:] == [c / ".redo" / "train"]
    assert (c / "train" / "result").is_file()
    stages.run_stage(tmp_path / "d", "train", {"n": 2}, work)
    shutil.rmtree(c / "train")  # d computes what it no longer has
    stages.run_stage(tmp_path / "d", "train", {"n": 2}, work)
    assert made[3:] == [tmp_path / "d" / "train"]


def test_a_stage_that_another_workdir_is_making_is_waited_for(tmp_path, monkeypatch):
    """Two processes of a grid do not train the same twice; one that died is not waited for."""
    monkeypatch.setattr(stages, "WAIT_S", 0.01)
    stages.share(tmp_path)
    begun, finish, made = threading.Event(), threading.Event(), []

    def slow(root):
        made.append(root)
        begun.set()
        assert finish.wait(60)

    def first():
        with stages.lock(tmp_path / "a"):
            stages.run_stage(tmp_path / "a", "train", {"n": 1}, slow)

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(first)
        assert begun.wait(60)
        stages.run_stage(tmp_path / "other", "train", {"n": 2}, made.append)  # is not held up
        two = pool.submit(stages.run_stage, tmp_path / "b", "train", {"n": 1}, made.append)
        with pytest.raises(TimeoutError):
            two.result(timeout=0.2)
        finish.set()
        one.result(60), two.result(60)
    assert made == [tmp_path / "a" / "train", tmp_path / "other" / "train"]
    assert (tmp_path / "b" / "train").resolve() == tmp_path / "a" / "train"
    (tmp_path / "dead" / "train").mkdir(parents=True)
    record = {"fingerprint": stages.fingerprint({"n": 3}), "inputs": {"n": 3}}
    (tmp_path / "dead" / "train" / "begun.json").write_text(json.dumps(record))
    stages.run_stage(tmp_path / "c", "train", {"n": 3}, made.append)
    assert made[2:] == [tmp_path / "c" / "train"]


@pytest.mark.parametrize("inside", ["", "w"])
def test_a_file_is_no_workdir(tmp_path, inside):
    path = tmp_path / "results.txt"
    path.write_text("mine")
    with pytest.raises(stages.StageError, match=r"results\.txt.*is a file; use another workdir"):
        stages.lock(path / inside).__enter__()
    assert path.read_text() == "mine"
