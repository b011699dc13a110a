"""Stages that are computed again, and what is never removed."""

from types import SimpleNamespace

import pytest

from inres.pipeline import stages


def write(text):
    def work(out):
        (out / "result").write_text(text)

    return work


def result(workdir, stage):
    return (workdir / stage / "result").read_text()


@pytest.fixture
def finished(tmp_path):
    """Two finished stages."""
    for stage in ("prepare", "split"):
        stages.run_stage(tmp_path, stage, {"a": 1}, write("old"))
    return tmp_path


def test_the_old_results_stay_until_the_new_ones_are_complete(finished):
    def fail(out):
        (out / "result").write_text("half")
        assert result(finished, "prepare") == "old"
        raise KeyboardInterrupt

    stages.request_redo(finished, stages.to_redo(finished, ["prepare"]))
    with pytest.raises(KeyboardInterrupt):
        stages.run_stage(finished, "prepare", {"a": 2}, fail)
    assert result(finished, "prepare") == "old"
    assert stages.pending_redo(finished) == ("prepare", "split")
    seen = []

    def resume(out):
        seen.append((out / "result").read_text())
        write("new")(out)

    stages.run_stage(finished, "prepare", {"a": 2}, resume)
    assert seen == ["half"]  # what was finished of the new result is used
    assert result(finished, "prepare") == "new"
    assert stages.recorded(finished / "prepare")["inputs"] == {"a": 2}
    assert stages.pending_redo(finished) == ("split",)
    stages.run_stage(finished, "split", {"a": 1}, write("new"))
    assert result(finished, "split") == "new"
    assert sorted(path.name for path in finished.iterdir()) == ["prepare", "split"]


def test_later_stages_wait_for_earlier_ones(finished):
    stages.request_redo(finished, stages.to_redo(finished, ["prepare"]))
    with pytest.raises(stages.StageError, match="the prepare stage, on which split depends"):
        stages.run_stage(finished, "split", {"a": 1}, write("new"))
    assert result(finished, "split") == "old"


def test_an_attempt_with_other_inputs_starts_again(finished):
    def stop(out):
        (out / "half").touch()
        raise KeyboardInterrupt

    stages.request_redo(finished, ["split"])
    with pytest.raises(KeyboardInterrupt):
        stages.run_stage(finished, "split", {"a": 2}, stop)
    stages.run_stage(finished, "split", {"a": 3}, write("new"))
    assert not (finished / "split" / "half").exists()
    assert result(finished, "split") == "new"


def test_a_refused_request_changes_nothing(finished):
    wanted = stages.to_redo(finished, ["prepare"])
    stages.request_redo(finished, wanted)
    stages.withdraw_redo(finished, wanted)
    assert stages.pending_redo(finished) == ()
    stages.run_stage(finished, "split", {"a": 1}, write("new"))
    assert result(finished, "split") == "old"


def test_work_that_was_done_keeps_the_request(finished):
    def stop(out):
        (out / "half").touch()
        raise ValueError("the disk is full")

    stages.request_redo(finished, ["split"])
    with pytest.raises(ValueError, match="full"):
        stages.run_stage(finished, "split", {"a": 1}, stop)
    stages.withdraw_redo(finished, ["split"])
    assert stages.pending_redo(finished) == ("split",)


@pytest.mark.parametrize("marker", ["", "stage.json", "begun.json"])
def test_folders_of_others_are_neither_redone_nor_written_to(tmp_path, marker):
    """Also if a file there has the name of a marker."""
    mine = tmp_path / "train" / "photo.png"
    mine.parent.mkdir()
    mine.write_text("mine")
    if marker:
        (mine.parent / marker).write_text('{"theirs": 1}')
    stages.run_stage(tmp_path, "split", {}, write("old"))
    assert stages.to_redo(tmp_path, ["split"]) == ("split",)
    with pytest.raises(stages.StageError, match="train exists and was not made by this program"):
        stages.run_stage(tmp_path, "train", {}, write("new"))
    stages.request_redo(tmp_path, ["train"])
    with pytest.raises(stages.StageError, match="was not made by this program"):
        stages.run_stage(tmp_path, "train", {}, write("new"))
    assert mine.read_text() == "mine"


def test_a_folder_for_redone_stages_that_others_made_is_left_alone(finished):
    theirs = finished / ".redo" / "split" / "theirs"
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    stages.request_redo(finished, ["split"])
    with pytest.raises(stages.StageError, match="was not made by this program"):
        stages.run_stage(finished, "split", {}, write("new"))
    assert theirs.exists()
    assert result(finished, "split") == "old"


def test_systems_that_cannot_exchange_names_replace_results_too(finished, monkeypatch):
    monkeypatch.setattr("inres.system.files._exchange", lambda *names: False)
    stages.request_redo(finished, ["split"])
    stages.run_stage(finished, "split", {"a": 1}, write("new"))
    assert result(finished, "split") == "new"
    assert sorted(path.name for path in finished.iterdir()) == ["prepare", "split"]


def test_there_is_no_stage_of_another_name(tmp_path):
    with pytest.raises(ValueError, match="no stage is called 'trian'"):
        stages.to_redo(tmp_path, ["trian"])


def test_results_made_from_earlier_ones_are_not_consistent(tmp_path):
    def make(stage, *earlier):
        inputs = {f"upstream.{name}": stages.done(tmp_path, name) for name in earlier}
        stages.run_stage(tmp_path, stage, inputs, write("x"))

    make("prepare")
    make("split", "prepare")
    make("train", "split")
    stages.require_consistent(tmp_path)
    stages.request_redo(tmp_path, stages.to_redo(tmp_path, ["prepare"]))
    stages.require_consistent(tmp_path)  # nothing is new yet
    make("prepare")
    with pytest.raises(stages.StageError, match="split was made from other results of the prepare"):
        stages.require_consistent(tmp_path)
    make("split", "prepare")
    with pytest.raises(stages.StageError, match="train was made from other results of the split"):
        stages.require_consistent(tmp_path)
    stages.require_consistent(tmp_path, ("prepare", "split"))
    make("train", "split")
    stages.require_consistent(tmp_path)


def test_a_removal_that_was_killed_does_not_block_the_workdir(finished, monkeypatch):
    """The markers go last, so that what is left is still known as ours."""
    stages.request_redo(finished, ["split"])
    for name in ("a", "b"):
        (finished / "split" / name).mkdir()

    def killed(path):
        path.rmdir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stages, "shutil", SimpleNamespace(rmtree=killed))
        with pytest.raises(KeyboardInterrupt):
            stages.run_stage(finished, "split", {"a": 1}, write("new"))
    assert result(finished, "split") == "new"
    assert (finished / ".redo" / "split" / "stage.json").is_file()
    stages.request_redo(finished, ["split"])
    stages.run_stage(finished, "split", {"a": 1}, write("newer"))
    assert result(finished, "split") == "newer"
    assert sorted(path.name for path in finished.iterdir()) == ["prepare", "split"]


@pytest.mark.parametrize(
    "content", ["[]", "{}", "null", "5", '{"stages": null}', '{"stages": ["mine"]}', '{"a": 1}']
)
def test_a_file_of_others_called_redo_json_is_kept(finished, content):
    (finished / "redo.json").write_text(content)
    with pytest.raises(stages.StageError, match=r"redo\.json: not a list of stages.*remove it"):
        stages.run_stage(finished, "split", {"a": 1}, write("new"))
    assert (finished / "redo.json").read_text() == content
