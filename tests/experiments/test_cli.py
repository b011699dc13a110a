"""The real command line, end to end, on the smoke config."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from cli import ENVIRONMENT, ROOT, SMOKE, call, command, refused, results
from documents import marked_block

from inres.retrieval import codes
from inres.storage import store

RANKINGS = (
    *("two_stage", "hamming", "latent", "alone", "fc1", "fc2", "fc3", "fc1_fc3", "softmax"),
    *(
        "predicted_class",
        "itq_fc1",
        "lsh_fc1",
        "pixels",
        "hog",
        "itq_pixels",
        "lsh_pixels",
        "chance",
    ),
)

pytestmark = pytest.mark.e2e


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
    made = (workdir / "config.json").read_bytes()
    # Stages before it do not ask for bits, but the config is that of all that is there.
    assert refused("prepare", SMOKE, f"--workdir={workdir}", "--config.hash.bits=12") == error
    assert (workdir / "config.json").read_bytes() == made


def test_the_archive_holds_the_turned_codes_of_h_and_fc1(smoke, tmp_path):
    """Fitted on training items alone; back at the paper's codes, training is not repeated."""
    workdir, _ = smoke
    other = tmp_path / "w"
    shutil.copytree(workdir, other)
    before = (other / "train" / "stage.json").read_bytes()

    def stored():
        opened = store.load(other / "index" / "archive")
        rows = opened.records.column("item").astype(int)
        return codes.unpack(np.asarray(opened.codes), opened.bits), rows

    with open(other / "split" / "split.csv", newline="") as file:
        side = np.array([row["side"] for row in csv.DictReader(file)])
    embeddings = np.load(other / "index" / "embeddings.npz")
    h, fc1 = (embeddings[name].astype(np.float64) for name in ("h", "fc1"))
    planes = np.load(other / "index" / "planes.npz")
    both = np.concatenate([h, fc1], axis=1)
    mean = both[side == "train"].mean(axis=0)
    np.testing.assert_allclose(planes["mean"], mean)
    turned, rows = stored()
    assert set(side[rows]) == {"train", "val"}
    np.testing.assert_array_equal(turned, (both[rows] - planes["mean"]) @ planes["planes"] >= 0)
    paper = (SMOKE, f"--workdir={other}", "--config.hash.code=latent")
    assert "hash.code was 'rotated'" in refused("index", *paper)
    done = call("index", *paper, "--redo=index")
    assert done.returncode == 0, done.stderr
    assert (other / "train" / "stage.json").read_bytes() == before
    plain, rows = stored()
    np.testing.assert_array_equal(plain, h[rows] >= 0.5)
    assert (plain != turned).any()


def test_only_what_the_network_was_not_trained_on_is_seen_in_all_views(smoke, tmp_path):
    """Training items are stored as without views, others are not, nor is training repeated."""
    workdir, _ = smoke
    other = tmp_path / "w"
    shutil.copytree(workdir, other)
    before = (other / "train" / "stage.json").read_bytes()
    done = call(
        "index", SMOKE, f"--workdir={other}", "--config.hash.views_weight=0", "--redo=index"
    )
    assert done.returncode == 0, done.stderr
    assert (other / "train" / "stage.json").read_bytes() == before
    with open(other / "split" / "split.csv", newline="") as file:
        trained = np.array([row["side"] == "train" for row in csv.DictReader(file)])
    views, plain = (np.load(w / "index" / "embeddings.npz") for w in (workdir, other))
    for name in ("fc1", "h", "fc3"):
        np.testing.assert_array_equal(views[name][trained], plain[name][trained])
        assert (views[name][~trained] != plain[name][~trained]).any(axis=1).all()
    np.testing.assert_array_equal(
        np.load(workdir / "index" / "planes.npz")["planes"],
        np.load(other / "index" / "planes.npz")["planes"],
    )


def test_the_program_of_the_readme_runs(smoke):
    """As printed, for a nodule of the run instead of the README's."""
    workdir, _ = smoke
    with open(workdir / "prepare" / "items.csv", newline="") as file:
        table = list(csv.DictReader(file))
    row, item = next((i, item) for i, item in enumerate(table) if item["nodule"])
    program = marked_block("README.md", "python example", "python")
    for printed, meant in {
        '"runs/phantom"': repr(str(workdir)),
        '"patient.mhd"': repr(str(next((workdir / "scans").glob(f"subset*/{item['scan']}.mhd")))),
        "(-100.6, 67.3, -231.8)": f"({item['x_mm']}, {item['y_mm']}, {item['z_mm']})",
        "553": str(row),
    }.items():
        assert program.count(printed) == 1
        program = program.replace(printed, meant)
    program += "\nprint(len(hits), many.ids.shape)\n"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *printed, last = done.stdout.splitlines()
    count = int(last.split()[0])
    assert 1 <= count <= 10
    assert last == f"{count} ({count}, 10)"
    assert [line.split()[0] for line in printed] == [str(n) for n in range(1, len(printed) + 1)]
    assert item["scan"] not in done.stdout  # the query's own scan is excluded


def test_an_item_finds_others_but_not_its_own_scan(smoke, tmp_path):
    workdir, _ = smoke
    with open(workdir / "prepare" / "items.csv", newline="") as file:
        table = list(csv.DictReader(file))
    row = next(i for i, item in enumerate(table) if item["nodule"] and item["subset"] == "0")
    flags = (SMOKE, f"--workdir={workdir}", f"--item={row}", "--threshold=49")
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


def test_a_search_takes_other_pools_rankings_and_filters(smoke, tmp_path):
    workdir, _ = smoke
    flags = (SMOKE, f"--workdir={workdir}", "--item=3", f"--out={tmp_path / 'a'}")
    chosen = ("nearest=40", "where=label > 0", "distinct=scan", f"k={10**12}")
    done = call("search", *flags, *(f"--{setting}" for setting in chosen))
    assert done.returncode == 0, done.stderr
    assert "40 items where label > 0 in the pool" in done.stdout
    assert "each scan once" in done.stdout
    found = results(tmp_path / "a")
    assert len({r["scan"] for r in found}) == len(found) > 3
    assert all(float(r["diameter_mm"]) > 0 for r in found)
    distances = [float(r["euclidean"]) for r in found]
    assert distances == sorted(distances)
    chosen = ("--rank=hamming", "--same_class")
    done = call("search", *flags, *chosen)
    assert done.returncode == 0, done.stderr
    found = results(tmp_path / "a")
    assert {r["euclidean"] for r in found} == {""}
    assert len({r["class"] for r in found}) == 1
    bits = [int(r["hamming"]) for r in found]
    assert bits == sorted(bits)
    error = refused("search", *flags, "--where=diametre > 3")
    assert "diametre" in error
    assert "diameter_mm" in error  # the columns there are


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


def test_a_lone_image_stands_for_its_neighbours(smoke, tmp_path):
    import SimpleITK as sitk

    workdir, _ = smoke
    inputs = np.load(workdir / "train" / "inputs.npy")
    assert inputs.shape[1:] == (32, 32, 3)
    with open(workdir / "split" / "split.csv", newline="") as file:
        asked = [i for i, row in enumerate(csv.DictReader(file)) if row["side"] == "test"]
    image = inputs[asked[0], :, :, 1]  # as the gallery's are: cut and segmented
    path = tmp_path / "one.png"
    sitk.WriteImage(sitk.GetImageFromArray(image), str(path))
    out = tmp_path / "found"
    flags = (f"--image={path}", f"--out={out}", "--nearest=8")
    done = call("search", SMOKE, f"--workdir={workdir}", *flags)
    assert done.returncode == 0, done.stderr
    assert "one slice, which also stands for its 2 neighbours" in done.stdout
    assert out.with_suffix(".png").is_file()
    code = np.load(workdir / "index" / "alone.npy")[0]
    archive = store.load(workdir / "index" / "archive")
    bits = codes.unpack(np.asarray(archive.codes), archive.bits)
    near = np.sort((bits != code).sum(axis=1))
    assert sorted(int(row["hamming"]) for row in results(out)) == near[:8].tolist()


def test_test_items_are_also_searched_for_without_their_neighbours(smoke):
    workdir, _ = smoke
    alone = np.load(workdir / "index" / "alone.npy")
    with open(workdir / "split" / "split.csv", newline="", encoding="utf-8") as file:
        side = [row["side"] for row in csv.DictReader(file)]
    assert len(alone) == side.count("test")
    metrics = (workdir / "evaluation" / "metrics.json").read_text(encoding="utf-8")
    scores = json.loads(metrics)["rankings"]
    assert scores["alone"] != scores["hamming"]


def test_an_interrupted_training_goes_on_to_the_same_weights(smoke, tmp_path):
    workdir, _ = smoke
    other = tmp_path / "w"
    shutil.copytree(workdir, other, ignore=shutil.ignore_patterns("train", "index", "evaluation"))
    args = command("train", SMOKE, f"--workdir={other}")
    environment = {**ENVIRONMENT, "PYTHONUNBUFFERED": "1"}
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
    done = call("train", SMOKE, f"--workdir={other}")
    assert done.returncode == 0, done.stderr
    assert "resumed at step" in done.stdout
    marks = [
        json.loads((w / "train" / "summary.json").read_text())["model"] for w in (workdir, other)
    ]
    assert marks[0] == marks[1]
