"""The real command line, end to end, on the smoke config."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SMOKE = "--config=experiments/configs/smoke.py"
RANKINGS = (
    *("two_stage", "hamming", "fc1", "fc2", "fc3", "fc1_fc3", "softmax", "predicted_class"),
    *("itq_fc1", "lsh_fc1", "pixels", "hog", "itq_pixels", "lsh_pixels", "chance"),
)

pytestmark = pytest.mark.e2e


def command(module, *args):
    return [sys.executable, "-m", f"experiments.{module}", *map(str, args)]


def call(module, *args):
    return subprocess.run(
        command(module, *args), cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    )


def refused(module, *args):
    """The one line with which a command refuses."""
    done = call(module, *args)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    return done.stderr[done.stderr.index("error: ") :]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """A finished run: (workdir, what it printed)."""
    workdir = tmp_path_factory.mktemp("smoke")
    done = call("reproduce", SMOKE, f"--workdir={workdir}")
    assert done.returncode == 0, done.stdout + done.stderr
    return workdir, done.stdout


def test_one_command_makes_everything(smoke):
    workdir, printed = smoke
    for stage in ("scans", "prepare", "split", "segment", "train", "index", "evaluation"):
        assert (workdir / stage / "stage.json").is_file(), stage
    assert f"report   {workdir / 'report.html'}" in printed
    assert "the index agrees with the evaluation on all" in printed
    metrics = json.loads((workdir / "evaluation" / "metrics.json").read_text())
    assert {"dataset", "segmentation", "classification", "pool", "paper", "rankings"} <= set(
        metrics
    )
    assert tuple(metrics["rankings"]) == RANKINGS
    assert metrics["intervals"]["rankings"].keys() == metrics["rankings"].keys()
    costs = metrics["efficiency"]
    assert [row["threshold"] for row in costs] == sorted({r["threshold"] for r in costs})
    assert costs[-1]["neighbours_kept"] == 1.0
    assert all(row["seconds_per_query"] > 0 for row in costs)
    chance = metrics["rankings"]["chance"]["map_macro"]
    assert 0 < chance < 0.5
    assert metrics["segmentation"]["dice"] > 0.5
    assert all((workdir / name).is_file() for name in ("config.json", "environment.json"))


def test_a_second_run_skips_every_stage(smoke):
    workdir, _ = smoke
    done = call("reproduce", SMOKE, f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done already, skipped") == 7
    assert "started" not in done.stdout


def test_another_config_is_refused_by_name(smoke):
    workdir, _ = smoke
    error = refused("train", SMOKE, f"--workdir={workdir}", "--config.hash.bits=12")
    assert "hash.bits was 48, now 12" in error
    assert "--redo=train" in error


@pytest.mark.parametrize(
    ("flag", "part"),
    [
        ("--config.hash.bit=64", "bit"),
        ("--config.hash.bits=0", "config.hash.bits = 0"),
        ("--config.hash.bits=many", "bits"),
        ("--config.train.schedule=linear", "config.train.schedule"),
        ("--config.data.kind=luna16", "config.data.root"),
        ("--redo=trian", "trian"),
    ],
)
def test_a_mistyped_setting_stops_before_work(tmp_path, flag, part):
    error = refused("reproduce", SMOKE, f"--workdir={tmp_path / 'w'}", flag)
    assert part in error
    assert not list((tmp_path / "w").glob("*/*"))


def results(stem):
    with open(f"{stem}.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_an_item_finds_others_but_not_its_own_scan(smoke, tmp_path):
    workdir, _ = smoke
    with open(workdir / "prepare" / "items.csv", newline="") as file:
        table = list(csv.DictReader(file))
    row = next(i for i, item in enumerate(table) if item["nodule"] and item["subset"] == "0")
    flags = (SMOKE, f"--workdir={workdir}", f"--item={row}", "--config.search.threshold=49")
    done = call("search", *flags, f"--out={tmp_path / 'a'}")
    assert done.returncode == 0, done.stderr
    found = results(tmp_path / "a")
    assert len(found) == 10
    assert table[row]["scan"] not in {r["scan"] for r in found}
    distances = [float(r["euclidean"]) for r in found]
    assert distances == sorted(distances)
    assert (tmp_path / "a.png").stat().st_size > 10_000
    done = call("search", *flags, f"--out={tmp_path / 'b'}", "--own_scan")
    first = results(tmp_path / "b")[0]
    assert (first["nodule"], first["hamming"], float(first["euclidean"])) == (
        table[row]["nodule"],
        "0",
        pytest.approx(0, abs=1e-3),
    )


def test_a_place_in_a_scan_finds_its_own_nodule(smoke, tmp_path):
    """The query takes the gallery's road: the same slice, mask, crop and code."""
    workdir, _ = smoke
    with open(workdir / "prepare" / "items.csv", newline="") as file:
        item = next(r for r in csv.DictReader(file) if r["nodule"] and r["subset"] == "1")
    scan = workdir / "scans" / "subset1" / f"{item['scan']}.mhd"
    place = ",".join(item[k] for k in ("x_mm", "y_mm", "z_mm"))
    flags = (SMOKE, f"--workdir={workdir}", f"--scan={scan}", f"--world={place}")
    done = call("search", *flags, "--own_scan", f"--out={tmp_path / 'a'}")
    assert done.returncode == 0, done.stderr
    first = results(tmp_path / "a")[0]
    assert first["nodule"] == item["nodule"]
    assert float(first["euclidean"]) == pytest.approx(0, abs=1e-3)
    error = refused("search", *flags[:3], "--world=0,0")
    assert "three numbers" in error
    error = refused("search", *flags, "--config.items.crop_mm=20")
    assert "items.crop_mm was 64.0, now 20.0" in error


def test_an_interrupted_training_goes_on_to_the_same_weights(smoke, tmp_path):
    workdir, _ = smoke
    other = tmp_path / "w"
    shutil.copytree(workdir, other, ignore=shutil.ignore_patterns("train", "index", "evaluation"))
    args = command("train", SMOKE, f"--workdir={other}")
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        args,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment,
    )
    log = other / "train" / "log.jsonl"
    deadline = time.monotonic() + 120
    while not (log.is_file() and '"step": 1,' in log.read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "interrupted; run the same command again" in errors
    assert not (other / "train" / "stage.json").is_file()
    done = subprocess.run(args, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "resumed at step" in done.stdout
    marks = [
        json.loads((w / "train" / "summary.json").read_text())["model"] for w in (workdir, other)
    ]
    assert marks[0] == marks[1]


def test_a_folder_of_crops_goes_the_same_road(tmp_path):
    """Bright discs of two sizes, no scans, no masks: learned and found."""
    import SimpleITK as sitk

    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32] - 15.5
    lines = ["image,scan,nodule,label,diameter_mm,malignancy,split"]
    for i in range(120):
        radius = (3, 8)[i % 2] + rng.random()
        image = 200 * (np.hypot(x, y) < radius) + rng.integers(0, 40, (32, 32))
        sitk.WriteImage(
            sitk.GetImageFromArray(image.astype(np.uint8)), str(root / f"images/{i}.png")
        )
        lines.append(f"images/{i}.png,s{i // 4},,{i % 2},,,{'test' if i >= 90 else 'train'}")
    (root / "items.csv").write_text("\n".join(lines) + "\n")
    flags = (
        "--config=experiments/configs/folder.py",
        f"--config.data.root={root}",
        f"--workdir={tmp_path / 'w'}",
        "--config.items.size_px=32",
        "--config.model.stem=8",
        "--config.model.fc1=32",
        "--config.train.epochs=12",
        "--config.train.batch=16",
        "--config.hash.bits=16",
    )
    done = call("reproduce", *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((tmp_path / "w" / "evaluation" / "metrics.json").read_text())
    assert metrics["rankings"]["two_stage"]["map_macro"] > 0.95
    assert metrics["rankings"]["two_stage"]["diameter_error_mm_at_10"] is None
    assert metrics["segmentation"] is None
    (root / "items.csv").write_text("\n".join(lines).replace(",1,,,train", ",0,,,train") + "\n")
    error = refused("prepare", *flags)
    assert "other data: files was" in error
    error = refused("train", *flags[:2], *flags[3:], f"--workdir={tmp_path / 'v'}")
    assert "run the segment stage first" in error
    for stage in ("prepare", "split", "segment"):
        assert call(stage, *flags[:2], f"--workdir={tmp_path / 'v'}").returncode == 0
    error = refused("train", *flags[:2], *flags[3:], f"--workdir={tmp_path / 'v'}")
    assert "class 1 has" in error
    assert "none to train on" in error
