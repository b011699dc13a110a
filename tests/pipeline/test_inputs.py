"""Every config field is the input of a stage, or explicitly of none."""

import dataclasses

import pytest

from inres import sources
from inres.config import Config, Data, Items, Loss, Train
from inres.learning import losses
from inres.pipeline import inputs, stages


def test_every_config_field_belongs_to_a_stage_or_to_none():
    fields = set(dict(inputs.leaves(Config())))
    used: set[str] = set()
    for kind in sources.names():
        for loss in losses.names():  # a loss that is not selected has no effect
            for view in ("crop", "cube"):  # the fields of cubes have no effect on crops
                config = Config(
                    data=Data(kind=kind),
                    loss=Loss(name=loss),
                    items=Items(view=view, normal_inside_mm=1.0),  # 0 is that of former runs
                    train=Train(precision="bfloat16"),  # float32 is that of former runs
                )
                for stage in stages.STAGES:
                    used |= set(inputs.stage_inputs(config, stage))
    assert used <= fields
    assert fields - used == set(inputs.NO_INPUT)


def test_a_strict_check_of_counts_is_an_input():
    """An item store made without the check has not been checked."""
    strict = Config(data=Data(kind="luna16", expect_counts="strict"))
    assert inputs.stage_inputs(strict, "prepare")["data.expect_counts"] == "strict"


@pytest.mark.parametrize(
    ("change", "stage"),
    [
        ({"hash": {"bits": 12}}, "train"),
        ({"loss": {"name": "csq"}}, "train"),
        ({"search": {"threshold": 9}}, "evaluation"),
        ({"hash": {"views_weight": 0.1}}, "index"),
        ({"split": {"seed": 3}}, "split"),
        ({"phantom": {"matrix": 256}}, "scans"),
    ],
)
def test_a_changed_field_changes_the_inputs_of_its_stage_alone(change, stage):
    before, after = Config(), Config()
    for section, values in change.items():
        setattr(after, section, dataclasses.replace(getattr(after, section), **values))
    changed = {
        name
        for name in stages.STAGES
        if inputs.stage_inputs(before, name) != inputs.stage_inputs(after, name)
    }
    assert changed == {stage}


def test_the_precision_is_an_input_of_both_networks_unless_it_is_float32():
    """Runs that were finished before it could be set stay valid."""
    stages_of = {}
    for precision in ("float32", "bfloat16"):
        config = Config(train=Train(precision=precision))
        found = {stage: inputs.stage_inputs(config, stage) for stage in stages.STAGES}
        stages_of[precision] = [s for s, values in found.items() if "train.precision" in values]
    assert stages_of == {"float32": [], "bfloat16": ["segment", "train"]}


def test_nested_values_have_dotted_names():
    assert inputs.flat({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}
