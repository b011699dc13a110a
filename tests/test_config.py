import copy
import dataclasses
import json
import pickle
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inres import config as lib
from inres.pipeline.inputs import flat


def test_a_config_survives_json():
    config = lib.Config(name="x", hash=lib.Hash(bits=64), split=lib.Split(test_subsets=(1, 2)))
    assert lib.from_dict(json.loads(json.dumps(lib.to_dict(config)))) == config


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("hash", "bits", 0),
        ("train", "learning_rate", 0.0),
        ("train", "learning_rate", float("inf")),
        ("train", "momentum", 1.0),
        ("train", "batch", 1),
        ("train", "warmup_epochs", 1e3),
        ("segment", "momentum", 1.5),
        ("train", "schedule", "cosin"),
        ("items", "view", "crops"),
        ("items", "hu_max", -1300.0),
        ("items", "crop_mm", 1000.0),
        ("items", "cube_px", 32),
        ("items", "slice_mm", -1.0),
        ("segment", "size_px", 100),
        ("model", "stem", 30),
        ("model", "dropout", 1.0),
        ("split", "val_subsets", (9,)),
        ("split", "test_share", 1.5),
        ("split", "val_share", 1.0),
        ("split", "overlap", "ignore"),
        ("split", "folds", 1),
        ("data", "kind", "dicom"),
        ("phantom", "scans", 3),
        ("search", "threshold", 0),
        ("properties", "importance", ("margin=-1",)),
        ("properties", "scale", ("margin=0",)),
        ("properties", "scale", ("margin=inf",)),
        ("properties", "scale", ("=2",)),
        ("properties", "scale", ("margin",)),
        ("loss", "name", "dhash"),
        ("loss", "classification", 0.0),
        ("model", "name", "vgg"),
    ],
)
def test_an_impossible_value_is_named(section, field, value):
    config = lib.Config()
    setattr(getattr(config, section), field, value)
    with pytest.raises(lib.ConfigError, match=rf"config\.{section}\.{field}"):
        lib.checked(config)


@pytest.mark.parametrize(
    ("loss", "field", "value"),
    [
        ("hashnet", "beta", 0.5),
        ("hashnet", "beta", float("inf")),
        ("hashnet", "alpha", 0.0),
        ("ordinal", "diameter", 1.5),
        ("orthohash", "scale", 0.0),
        ("orthohash", "margin", -0.1),
        ("dpsh", "quantization", -1.0),
        ("paper", "balance", float("nan")),
    ],
)
def test_an_impossible_setting_of_a_loss_is_named(loss, field, value):
    config = lib.Config()
    setattr(getattr(config.loss.settings, loss), field, value)
    with pytest.raises(lib.ConfigError, match=rf"config\.loss\.settings\.{loss}\.{field} = "):
        lib.checked(config)


@pytest.mark.parametrize(
    ("field", "value"),
    [("neighbours", 1), ("slices_per_nodule", 3), ("unit", "slice")],
)
def test_a_cube_is_one_item_of_one_nodule(field, value):
    lib.Items(**{field: value})
    with pytest.raises(lib.ConfigError, match=rf"config\.items\.{field} = {value!r}"):
        lib.Items(view="cube", **{field: value})
    assert (lib.Items(view="cube").input_px, lib.Items().input_px) == (31, 64)


@pytest.mark.parametrize(
    ("items", "model", "train", "field"),
    [
        ({}, {"planes": "three"}, {}, "model.planes = 'three'"),
        ({"view": "slice"}, {"planes": "nine"}, {}, "model.planes = 'nine'"),
        ({}, {"name": "inres_net_3d"}, {}, "model.name = 'inres_net_3d'"),
        (
            {"view": "cube"},
            {"name": "inres_net_3d", "planes": "nine"},
            {},
            "model.name = 'inres_net_3d'",
        ),
        ({"view": "cube"}, {}, {"flips": False}, "train.quarter_turns = True"),
    ],
)
def test_networks_of_cubes_need_cubes(items, model, train, field):
    parts = {"model": lib.Model(**model), "train": lib.Train(**train)}
    with pytest.raises(lib.ConfigError, match=re.escape(f"config.{field}")):
        lib.Config(items=lib.Items(**items), **parts)
    for allowed in ({"planes": "channels"}, {"planes": "nine"}, {"name": "inres_net_3d"}):
        lib.Config(items=lib.Items(view="cube"), model=lib.Model(**allowed))


def test_weights_and_scales_of_properties_are_numbers_by_name():
    given = lib.Properties(importance=("margin=0", "own=2"), scale=("texture=1.5",))
    assert given.weights() == {"margin": 0.0, "own": 2.0}
    assert given.scales() == {"texture": 1.5}


def test_unknown_losses_and_settings_list_the_known_ones():
    with pytest.raises(lib.ConfigError, match=r"config\.loss\.name = 'dhash'.*'dpsh'.*'ordinal'"):
        lib.Loss(name="dhash")
    with pytest.raises(lib.ConfigError, match=r"config\.loss = \['dpsh_quantization'\]: must be"):
        lib.from_dict({"loss": {"dpsh_quantization": 0.1}})  # the name in older versions
    for settings in ({"dhash": {}}, {"dpsh": {"quantisation": 1.0}}):
        with pytest.raises(lib.ConfigError, match=r"config\.loss\.settings.*must be among"):
            lib.Loss(settings=settings)


def test_settings_survive_json_copies_and_processes():
    config = lib.Config()
    config.loss.settings.dpsh.quantization = 0.7
    for same in (
        lib.from_dict(json.loads(json.dumps(lib.to_dict(config)))),
        copy.deepcopy(config),
        pickle.loads(pickle.dumps(config)),
    ):
        assert same == config
        assert same.loss.settings.dpsh.quantization == 0.7
    assert lib.Config() != config


def test_the_config_needs_no_jax():
    """The processes that prepare scans import it, one per core."""
    code = "import sys; from inres.config import Config; Config(); assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_best_by_accuracy_needs_a_classifier_that_learns():
    by_accuracy = lib.Train(keep="best", monitor="accuracy")
    untaught = {name: lib.Loss(name=name, classification=0.0) for name in ("dpsh", "greedyhash")}
    lib.Config(train=by_accuracy, loss=lib.Loss(name="dpsh"))
    lib.Config(train=by_accuracy, loss=untaught["greedyhash"])  # which teaches FC3 itself
    lib.Config(loss=untaught["dpsh"])
    with pytest.raises(lib.ConfigError, match=r"train\.monitor.*map_macro where FC3 learns"):
        lib.Config(train=by_accuracy, loss=untaught["dpsh"])


def test_a_seed_below_zero_is_named():
    with pytest.raises(lib.ConfigError, match=r"config\.seed = -1: must be 0 or more"):
        lib.Config(seed=-1)


def test_a_fold_that_is_not_drawn_is_named():
    with pytest.raises(lib.ConfigError, match=r"config\.split\.test_subsets = \(9,\).*of 0\.\.4"):
        lib.Split(kind="patient", folds=5)
    assert lib.Split(kind="patient", folds=5, test_subsets=(4,), val_subsets=()).folds == 5


def test_an_unknown_field_is_named():
    values = lib.to_dict(lib.Config())
    values["hash"]["bit"] = 3
    with pytest.raises(lib.ConfigError, match="bit"):
        lib.from_dict(values)
    with pytest.raises(
        lib.ConfigError, match=r"config: \['hahs'\] are unknown; must be among .*'hash'"
    ):
        lib.from_dict({"hahs": {}})


@given(st.integers(1, 1024), st.integers(0, 2**31 - 1))
def test_checking_changes_nothing(bits, seed):
    config = lib.Config(seed=seed, hash=lib.Hash(bits=bits))
    again = lib.checked(config)
    assert again == config
    assert again is not config


def test_every_section_is_a_dataclass_of_plain_values():
    for section in dataclasses.fields(lib.Config):
        value = getattr(lib.Config(), section.name)
        plain = flat(dataclasses.asdict(value)) if dataclasses.is_dataclass(value) else {"": value}
        assert all(isinstance(v, (str, int, float, bool, tuple)) for v in plain.values())
