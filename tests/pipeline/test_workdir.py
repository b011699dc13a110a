"""The files of a workdir: which are ours, and which config belongs to it."""

import json

import pytest

from inres import config as config_lib
from inres.config import Config, Items, Train
from inres.pipeline import inputs, stages, workdir


@pytest.mark.parametrize("name", ["config.json", "environment.json", "report.html", "figures"])
def test_files_of_others_are_not_replaced(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(stages.StageError, match=f"{name} exists and was not made by this program"):
        workdir.require_own(tmp_path)
    stages.run_stage(tmp_path, "split", {}, lambda out: None)
    workdir.require_own(tmp_path)


def test_results_go_to_a_folder_of_their_own(tmp_path):
    folder = tmp_path / "evaluation"
    workdir.require_output(folder, "folds.json")
    folder.mkdir()
    workdir.require_output(folder, "folds.json")
    (folder / "mine.txt").touch()
    with pytest.raises(stages.StageError, match="evaluation exists and holds other results"):
        workdir.require_output(folder, "folds.json")
    (folder / "folds.json").touch()
    workdir.require_output(folder, "folds.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "abc"}, r"config\.seed = 'abc': must be a int"),
        ({"data": 5}, r"config\.data = 5: must be a section with fields"),
        ({"search": {"threshold": None}}, r"config\.search\.threshold = None: must be a int"),
        ({"hash": {"bits": True}}, r"config\.hash\.bits = True: must be a int"),
        ({"split": {"test_subsets": "9"}}, r"config\.split\.test_subsets = '9'"),
        ({"search": {"k": 10}}, r"config\.search = \['k'\]: must be among"),
    ],
)
def test_a_config_with_wrong_values_is_refused_by_the_field(tmp_path, change, message):
    (tmp_path / "config.json").write_text(json.dumps(change))
    with pytest.raises(stages.StageError, match=message):
        workdir.read_config(tmp_path)


def test_a_config_is_read_as_it_was_written(tmp_path):
    config = Config(seed=3)
    (tmp_path / "config.json").write_text(json.dumps(config_lib.to_dict(config)))
    assert workdir.read_config(tmp_path) == config
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(stages.StageError, match="not a config"):
        workdir.read_config(tmp_path)


@pytest.mark.parametrize(
    ("before", "now", "stage"),
    [("crop", "cube", "prepare"), ("cube", "slice", "prepare"), ("crop", "slice", "train")],
)
def test_cubes_instead_of_slices_need_their_items_again(tmp_path, before, now, stage):
    def of(view):
        items = Items(view=view)
        return Config(items=items, train=Train(zoom=1.0, flips=False, quarter_turns=False))

    for name in ("prepare", "train"):
        stages.run_stage(tmp_path, name, inputs.stage_inputs(of(before), name), lambda out: None)
    workdir.require_same_config(tmp_path, of(before))
    message = f"items.view was '{before}', now '{now}'"
    with pytest.raises(stages.Changed, match=message) as caught:
        workdir.require_same_config(tmp_path, of(now))
    assert caught.value.stage == stage
    redo = stages.to_redo(tmp_path, [stage])
    workdir.require_same_config(tmp_path, of(now), redo=redo)
