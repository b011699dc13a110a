"""Damaged files of a run: each is named, with what to do."""

import re

import numpy as np
import pytest

from inres.config import Config
from inres.encoding.binarize import FineScale
from inres.encoding.encoded import Encoded
from inres.encoding.linear_codes import Hyperplanes
from inres.pipeline import artifacts, digests
from inres.system import files

LOADERS = {
    "inputs.npy": artifacts.network_inputs,
    "embeddings.npz": artifacts.load_embeddings,
    "planes.npz": lambda folder: artifacts.load_hyperplanes(Config(), folder),
    "scale.json": artifacts.load_scale,
    "alone.npy": artifacts.load_codes_alone,
    "trained.npy": lambda folder: digests.read(folder / "trained.npy"),
}


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    encoded = Encoded(*(rng.random((4, n), np.float32) for n in (6, 8, 3, 2)))
    artifacts.save_embeddings(tmp_path / "embeddings.npz", encoded)
    hyperplanes = Hyperplanes(rng.random(14), rng.random((14, 8)))
    artifacts.save_hyperplanes(tmp_path / "planes.npz", hyperplanes)
    files.write_json(tmp_path / "scale.json", {"fc1": 0.5, "fc3": 2})
    np.save(tmp_path / "inputs.npy", rng.integers(0, 255, (4, 8, 8, 1), np.uint8))
    np.save(tmp_path / "alone.npy", rng.random((4, 8)) < 0.5)
    np.save(tmp_path / "trained.npy", rng.integers(0, 255, (4, 16), np.uint8))
    return tmp_path


@pytest.mark.parametrize("name", LOADERS)
def test_a_damaged_file_of_a_run_is_named(folder, name):
    LOADERS[name](folder)
    good = (folder / name).read_bytes()
    for bad in (b"", b"x", good[: len(good) // 2]):
        (folder / name).write_bytes(bad)
        message = rf"{re.escape(name)}: damaged .*; run the (train|index) stage again$"
        with pytest.raises(ValueError, match=message):
            LOADERS[name](folder)


def test_a_scale_is_read_as_it_was_written(folder):
    assert artifacts.load_scale(folder) == FineScale(fc1=0.5, fc3=2)


@pytest.mark.parametrize(
    "value", [[], {"fc1": 1.0}, {"fc1": 1.0, "fc3": "2"}, {"fc1": 1, "fc3": 1, "fc2": 1}]
)
def test_a_scale_of_other_values_is_refused(folder, value):
    files.write_json(folder / "scale.json", value)
    with pytest.raises(ValueError, match=r"scale\.json: damaged .*numbers fc1 and fc3"):
        artifacts.load_scale(folder)


def test_embeddings_of_different_lengths_are_refused(folder):
    layers = {name: np.ones((4, 6)) for name in ("fc1", "h", "fc3", "properties")}
    np.savez(folder / "embeddings.npz", **(layers | {"h": np.ones((3, 8))}))
    with pytest.raises(ValueError, match=r"embeddings\.npz: damaged \(arrays of shapes"):
        artifacts.load_embeddings(folder)


def test_digests_of_another_shape_are_refused(folder):
    np.save(folder / "trained.npy", np.ones(16, np.uint8))
    with pytest.raises(ValueError, match=r"trained\.npy: damaged \(uint8 \[16\]\)"):
        digests.read(folder / "trained.npy")
