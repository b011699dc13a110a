"""Benchmark of preparing scans, on a small phantom."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from experiments.bench import prepare as bench
from experiments.configs.bench_prepare import get_config
from inres.ct.header import ScanError


def test_every_step_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "peak_mib", lambda function, *arguments: 100)
    config = get_config()
    config.matrix, config.slices, config.extent_mm, config.rounds = 128, 32, 80.0, 1
    bench.measure_prepare(config, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"bench_prepare.json", "bench_prepare.md"}
    [row] = json.loads((tmp_path / "bench_prepare.json").read_text(encoding="utf-8"))["scans"]
    assert row["voxels"] == "128 x 128 x 32"
    assert list(row["steps_cpu_s"]) == [*bench.STEPS, "everything else"]
    assert all(row["steps_cpu_s"][name] > 0 for name in bench.STEPS)
    assert row["ratio"] == round(row["rounds"]["prepare"][0] / row["rounds"]["simpleitk"][0], 2)
    assert list(row["stored"]) == ["slices", "lung_masks", "audit_slices"]
    assert all(0 < kind["share"] < 1 for kind in row["stored"].values())
    text = (tmp_path / "bench_prepare.md").read_text(encoding="utf-8")
    assert "| phantom.mhd | 128 x 128 x 32 |" in text
    assert "| - two lungs |" in text


def test_a_scan_that_cannot_be_read_is_named_first(tmp_path):
    config = get_config()
    config.scans = (str(tmp_path / "none.mhd"),)
    with pytest.raises(ScanError, match=r"none\.mhd: no such file"):
        bench.measure_prepare(config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_peer_reads_and_resamples(tmp_path, monkeypatch):
    path = tmp_path / "a.mhd"
    image = sitk.GetImageFromArray(np.zeros((6, 8, 10), np.int16))
    image.SetSpacing((0.5, 0.5, 2.5))
    sitk.WriteImage(image, str(path))
    made = []
    resample = sitk.Resample
    monkeypatch.setattr(
        bench.sitk, "Resample", lambda *args: made.append(resample(*args)) or made[0]
    )
    bench.simpleitk(path, 1.0)
    assert made[0].GetSize() == (5, 4, 15)
    assert made[0].GetSpacing() == (1.0, 1.0, 1.0)


def test_memory_is_that_of_the_process_alone():
    before = np.ones(200_000_000, np.uint8)  # of this process
    small, large = bench.peak_mib(len, ()), bench.peak_mib(bytearray, 300_000_000)
    assert len(before)
    assert large - small > 250
    assert small < large
