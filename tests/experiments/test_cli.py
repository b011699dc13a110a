"""The real command line, end to end, on the smoke config."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import quick
import SimpleITK as sitk
from cli import ROOT, SMOKE, call, command, refused, results
from documents import marked_block

import inres
from inres.data import items
from inres.retrieval import codes
from inres.storage import store

RANKINGS = (
    *("two_stage", "hamming", "latent", "alone", "joined"),
    *("fc1", "fc2", "fc3", "fc1_fc3", "softmax"),
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
    done = call("reproduce", SMOKE, f"--workdir={workdir}", "--config.data.workers=1")
    assert done.returncode == 0, done.stdout + done.stderr
    return workdir, done.stdout


def test_one_command_makes_everything(smoke):
    workdir, printed = smoke
    for stage in ("scans", "prepare", "split", "segment", "train", "index", "evaluation"):
        assert (workdir / stage / "stage.json").is_file(), stage
    assert f"report   {workdir / 'report.html'}" in printed
    assert printed.rstrip().endswith(f"python -m experiments.serve --archive={workdir}")
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


def test_the_archive_holds_the_turned_codes_of_its_features(smoke, tmp_path):
    """Fitted on training items alone; back at the paper's codes, training is not repeated."""
    workdir, _ = smoke
    other = tmp_path / "w"
    shutil.copytree(workdir, other)
    before = (other / "train" / "stage.json").read_bytes()

    def stored():
        opened = store.load(other / "index" / "archive")
        rows = opened.records.column("item").astype(int)
        bits = codes.unpack(np.asarray(opened.codes), opened.bits)
        return bits, np.asarray(opened.features, np.float64), rows

    with open(other / "split" / "split.csv", newline="") as file:
        side = np.array([row["side"] for row in csv.DictReader(file)])
    h = np.load(other / "index" / "embeddings.npz")["h"]
    planes = np.load(other / "index" / "planes.npz")
    turned, features, rows = stored()
    mean = features[side[rows] == "train"].mean(axis=0)
    np.testing.assert_allclose(planes["mean"], mean, rtol=1e-5, atol=1e-6)
    assert set(side[rows]) == {"train", "val"}
    np.testing.assert_array_equal(turned, (features - planes["mean"]) @ planes["planes"] >= 0)
    paper = (SMOKE, f"--workdir={other}", "--config.hash.code=latent")
    assert "hash.code was 'joined'" in refused("index", *paper)
    done = call("index", *paper, "--redo=index")
    assert done.returncode == 0, done.stderr
    assert (other / "train" / "stage.json").read_bytes() == before
    plain, _, rows = stored()
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
    scan = next((workdir / "scans").glob(f"subset*/{item['scan']}.mhd"))
    readme_scan = "subset9/2.25.20594426589869624009902662157823667241.mhd"
    for printed, meant in {
        f'"runs/phantom/scans/{readme_scan}"': repr(str(scan)),
        '"runs/phantom"': repr(str(workdir)),
        "(-44.8, -142.8, -336.0)": f"({item['x_mm']}, {item['y_mm']}, {item['z_mm']})",
        "search_item(553": f"search_item({row}",
    }.items():
        assert program.count(printed) == 1
        program = program.replace(printed, meant)
    program += "\nprint(len(hits), many.ids.shape)\n"
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=ROOT, env=quick.environment(), capture_output=True, text=True
    )
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


def test_a_search_by_weights_ranks_all_items_by_their_properties(smoke, tmp_path):
    """The network of so few steps takes all items for normal, so one is made a nodule."""
    workdir, _ = smoke
    other = tmp_path / "w"
    shutil.copytree(workdir, other)
    layers = dict(np.load(other / "index" / "embeddings.npz"))
    layers["fc3"][5] = np.eye(8)[3]
    np.savez(other / "index" / "embeddings.npz", **layers)
    flags = (f"--workdir={other}", f"--out={tmp_path / 'a'}", "--k=30")
    done = call("search", *flags, "--item=5", "--weights=diameter_mm=1")
    assert done.returncode == 0, done.stderr
    assert "items ranked by diameter_mm (1)" in done.stdout
    assert "mean difference, SD" in done.stdout
    found = results(tmp_path / "a")
    assert len(found) == 30
    (estimate,) = {float(r["query_diameter_mm"]) for r in found}
    ratios = [abs(np.log(float(r["diameter_mm"]) / estimate)) for r in found]
    np.testing.assert_allclose(ratios, np.sort(ratios), atol=0.03)  # three digits in the table
    error = refused("search", *flags, "--item=5", "--weights=colour=1")
    assert "no property 'colour'; the properties of this archive are diameter_mm" in error


def test_a_place_in_a_scan_finds_its_own_nodule(smoke, tmp_path):
    """A query is prepared as the archive is: the same slice, mask, crop and code."""
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


def test_a_lone_image_is_searched_for_without_neighbours(smoke, tmp_path):
    import SimpleITK as sitk

    workdir, _ = smoke
    inputs = np.load(workdir / "train" / "inputs.npy")
    assert inputs.shape[1:] == (32, 32, 6)
    with open(workdir / "split" / "split.csv", newline="") as file:
        queries = [i for i, row in enumerate(csv.DictReader(file)) if row["side"] == "test"]
    image = inputs[queries[0], :, :, 1]  # cut and segmented like the archive's images
    path = tmp_path / "one.png"
    sitk.WriteImage(sitk.GetImageFromArray(image), str(path))
    out = tmp_path / "found"
    flags = (f"--image={path}", f"--out={out}", "--nearest=8")
    done = call("search", SMOKE, f"--workdir={workdir}", *flags)
    assert done.returncode == 0, done.stderr
    assert "one slice; its neighbours are unknown" in done.stdout
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
    environment = {**quick.environment(), "PYTHONUNBUFFERED": "1"}
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


def place(item):
    return tuple(float(item[name]) for name in ("x_mm", "y_mm", "z_mm"))


@pytest.fixture(scope="module")
def archive(smoke, quick_programs):
    """The finished run as an object."""
    return inres.Archive.open(smoke[0])


@pytest.fixture(scope="module")
def nodule(smoke):
    """A row of the item table that is archived, the item, and its scan's file."""
    workdir, _ = smoke
    with open(workdir / "prepare" / "items.csv", newline="") as file:
        table = list(csv.DictReader(file))
    row = next(i for i, item in enumerate(table) if item["nodule"] and item["subset"] == "1")
    return row, table[row], workdir / "scans" / "subset1" / f"{table[row]['scan']}.mhd"


def test_an_archive_finds_what_brute_force_over_its_files_finds(smoke, archive, nodule):
    workdir, _ = smoke
    stored = store.load(workdir / "index" / "archive")
    bits = codes.unpack(np.asarray(stored.codes), stored.bits)
    features, scans = np.asarray(stored.features, np.float64), stored.records.column("scan")
    images = np.load(workdir / "train" / "inputs.npy")
    row, item, _ = nodule
    hits = archive.search_item(row, threshold=20, k=5)
    at = stored.records.column("item").tolist().index(row)
    hamming = (bits != bits[at]).sum(axis=1)
    distance = np.sqrt(((features - features[at]) ** 2).sum(axis=1))
    pool = np.flatnonzero((hamming < 20) & (scans != item["scan"]))
    want = pool[np.lexsort((pool, distance[pool]))][:5]
    assert hits.pool_size == len(pool)
    items = stored.records.column("item")[want]
    assert [hit.record["item"] for hit in hits] == items.tolist()
    assert [hit.hamming for hit in hits] == hamming[want].tolist()
    np.testing.assert_allclose([hit.distance for hit in hits], distance[want], rtol=1e-4)
    for hit, number in zip(hits, items, strict=True):
        np.testing.assert_array_equal(hit.image, images[number, :, :, 1])
    many = archive.search_many(
        np.asarray(stored.codes)[[at]],
        np.asarray(stored.features)[[at]],
        threshold=20,
        k=5,
        exclude_scans=[item["scan"]],
    )
    found = stored.records.many(many.ids[0])
    assert str(found) == str([hit.record for hit in hits])  # NaN equals nothing


def test_a_scan_is_read_once_for_several_queries(archive, nodule, monkeypatch):
    from inres.data import queries

    row, item, scan = nodule
    opened = []
    read = queries.open_query_scan

    def count(*args, **kwargs):
        opened.append(args)
        return read(*args, **kwargs)

    monkeypatch.setattr(queries, "open_query_scan", count)
    (first,) = archive.search_scan(scan, world_mm=place(item), own_scan=True, k=1)
    assert (first.record["item"], first.hamming) == (row, 0)
    assert first.distance == pytest.approx(0, abs=1e-3)
    others = archive.search_scan(scan, world_mm=place(item), nearest=10, k=10)
    assert item["scan"] not in {hit.record["scan"] for hit in others}
    assert others.own_scan_excluded
    (note,) = archive.search_scan(scan, slice_index=3).query.notes[:1]
    assert "a slice number gives no point" in note
    assert len(opened) == 1


def test_a_scan_is_read_again_when_its_data_has_changed(archive, nodule, tmp_path, monkeypatch):
    from inres.data import queries

    opened = []
    read = queries.open_query_scan
    monkeypatch.setattr(
        queries, "open_query_scan", lambda *a, **k: opened.append(a) or read(*a, **k)
    )
    _, _, scan = nodule
    data = scan.with_suffix(".zraw")
    for path in (scan, data):
        shutil.copy(path, tmp_path)
    for _ in range(2):
        archive.search_scan(tmp_path / scan.name, slice_index=3)
    assert len(opened) == 1
    os.utime(tmp_path / data.name, ns=(0, 0))
    for _ in range(2):
        archive.search_scan(tmp_path / scan.name, slice_index=3)
    assert len(opened) == 2


def test_threads_share_the_scans_kept_in_memory(archive, tmp_path, monkeypatch):
    from inres.data import queries

    monkeypatch.setattr(queries, "open_query_scan", lambda path, **k: path)
    paths = [tmp_path / f"{number}.mha" for number in range(5)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            wanted = paths * 2000
            assert list(pool.map(lambda path: archive._kept_scan(path, ""), wanted)) == wanted
    finally:
        sys.setswitchinterval(interval)
        archive._scans.clear()


def many(archive, **options):
    """A search for the first archived item by its stored code."""
    stored = archive._run.stored
    return archive.search_many(
        np.asarray(stored.codes)[:1], np.asarray(stored.features)[:1], **options
    )


def test_many_queries_take_numpy_texts_and_any_number_of_results(archive):
    own = archive.records.column("scan")[:1]
    every = many(archive, k=10**12, nearest=10**12)
    assert every.ids.shape == (1, len(archive))
    others = many(archive, k=10**12, nearest=10**12, exclude_scans=np.array(own, str))
    scans = archive.records.column("scan")
    assert (others.ids >= 0).sum() == (scans != own[0]).sum() < (every.ids >= 0).sum()
    assert archive.search_item(np.int64(3)).query.name == "item3"


def test_a_place_outside_the_lungs_is_told(archive, nodule):
    from inres.ct.scan import read_header

    _, item, scan = nodule
    corner = read_header(scan).index_to_world(np.array([4, 8, 8]))
    notes = archive.search_scan(scan, world_mm=tuple(corner)).query.notes
    assert any("outside the lungs (100% of the query image is masked)" in note for note in notes)
    assert archive.search_scan(scan, world_mm=place(item)).query.notes == ()


@pytest.mark.parametrize("wrong", ["here", (1, 2), (1, 2, "x"), ((1, 2), 3, 4)])
def test_a_position_is_three_numbers(archive, nodule, wrong):
    with pytest.raises(ValueError, match=r"world_mm is .*; must be x, y, z in mm"):
        archive.search_scan(nodule[2], world_mm=wrong)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (lambda a, scan: a.search_item(10**6), "the item table has rows 0 to"),
        (lambda a, scan: a.search_scan(scan), "give one place in the scan, world_mm or slice_"),
        (lambda a, scan: a.search_scan(scan, world_mm=(0, 0, 9999)), "outside the scan"),
        (lambda a, scan: a.search_scan(scan, world_mm=(0, 0, float("nan"))), "outside the scan"),
        (lambda a, scan: a.search_scan(f"{scan}x", slice_index=0), "mhdx: no such file"),
        (lambda a, scan: a.search_image(f"{scan}.png"), "mhd.png: no such file"),
        (lambda a, scan: a.search_image(np.zeros((3, 8, 8), np.uint8)), "of the 3 images are unk"),
        (lambda a, scan: a.search_image(np.zeros((8, 8, 3), np.uint8)), "like one image in colour"),
        (lambda a, scan: a.search_image(np.zeros(8, np.uint8)), "shape"),
        (lambda a, scan: a.search_image([[1, 2]]), "image: list; must be the path of a file"),
        (lambda a, scan: a.search_image(np.zeros((8, 8))), "lowest value, 0, is too high"),
        (lambda a, scan: a.search_scan(scan, slice_index=2.0), "slice_index is 2.0; must be a who"),
        (lambda a, scan: a.search_item(1.5), "item 1.5: must be a whole number from 0 to"),
        (lambda a, scan: a.search_item(True), "item True: must be a whole number from 0 to"),
        (lambda a, scan: a.search_item(0, same_class="no"), "same_class = 'no': must be True or"),
        (lambda a, scan: a.encode(np.zeros((2, 32, 32))), "images: float64 "),
        (lambda a, scan: a.encode(np.zeros((32, 32), np.uint8)), "must be uint8 .N, 32, 32, 6. or"),
        (lambda a, scan: a.encode(np.zeros((2, 32, 32, 1), np.uint8)), "uint8 .2, 32, 32, 1.; mu"),
        (lambda a, scan: a.encode(np.zeros((2, 31, 32), np.uint8)), "uint8 .2, 31, 32.; must be"),
        (lambda a, scan: many(a, exclude_scans="a"), "exclude_scans: 'a'; must be a list of 1 t"),
        (lambda a, scan: many(a, exclude_scans=[]), "must be a list of 1 texts, one per query"),
        (lambda a, scan: many(a, exclude_scans=np.array([3])), "must be a list of 1 texts"),
        (lambda a, scan: many(a, where=["label > 0"]), "where = .* must be an SQL condition"),
        (lambda a, scan: many(a, k=1.5), "k = 1.5: must be a whole number"),
        (lambda a, scan: a.search_item(0, k=0), "k = 0: must be a whole number"),
        (lambda a, scan: a.search_item(0, where="size > 3"), "no such column: size"),
    ],
)
def test_impossible_queries_are_refused_without_naming_flags(archive, nodule, search, message):
    with pytest.raises((ValueError, OSError), match=message) as refusal:
        search(archive, nodule[2])
    assert "--" not in str(refusal.value)


def test_an_unknown_option_is_refused_by_name(archive):
    with pytest.raises(TypeError, match="no search option 'treshold'; options are"):
        archive.search_item(0, treshold=3)


def test_an_exported_run_is_the_same_archive(smoke, nodule, tmp_path, monkeypatch):
    """Opened in another place and working directory; it names no folder of this machine."""
    workdir, _ = smoke
    # The network of so few steps takes all items for normal, and estimates nothing of these.
    monkeypatch.setattr(items, "no_nodule_class", lambda names: -1)
    archive = inres.Archive.open(workdir)
    first = tmp_path / "first"
    done = call("export", f"--workdir={workdir}", f"--out={first}")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "moved"
    first.rename(out)
    card = json.loads((out / "model.json").read_text())
    assert card["classes"] == list(archive.class_names)
    assert card["data"]["archived"] == len(archive)
    metrics = json.loads((workdir / "evaluation" / "metrics.json").read_text())
    assert card["scores"]["map_macro"]["value"] == metrics["rankings"]["two_stage"]["map_macro"]
    for path in out.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(workdir).encode() not in content, path
            assert str(ROOT).encode() not in content, path
    row, item, scan = nodule
    other = inres.Archive.open(out)
    for search in (
        lambda a: a.search_item(row, nearest=10, k=10),
        lambda a: a.search_item(row, weights={"diameter_mm": 1}, k=10),
        lambda a: a.search_scan(scan, world_mm=place(item), nearest=10, k=10),
        lambda a: a.search_image(archive.search_item(row).query.image, nearest=10, k=10),
    ):
        ours, theirs = search(archive), search(other)
        assert ours.query.predicted == theirs.query.predicted
        assert ours.query.properties == theirs.query.properties
        assert len(ours) == 10
        for a, b in zip(ours, theirs, strict=True):
            assert str(a.record) == str(b.record)
            assert (a.hamming, a.distance) == (b.hamming, b.distance)
            np.testing.assert_array_equal(a.image, b.image)
    done = call("search", f"--workdir={out}", f"--item={row}", f"--out={tmp_path / 'found'}")
    assert done.returncode == 0, done.stderr
    done = call("verify", f"--workdir={out}")  # also what its programs compute
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda out: (out / "network.npz").write_bytes(b"x"), "network.npz: damaged"),
        (lambda out: (out / "trained.npy").unlink(), "trained.npy: no such file"),
        (lambda out: (out / "checksums.json").unlink(), "checksums.json: no such file"),
        (lambda out: (out / "model.json").write_text("[]"), "model.json: not the model card"),
        (lambda out: (out / "model.json").unlink(), "model.json: no such file"),
        (lambda out: (out / "archive" / "manifest.json").write_text("{}"), "manifest.json"),
    ],
)
def test_a_damaged_export_is_refused_by_the_file(smoke, exported, tmp_path, damage, message):
    out = tmp_path / "moved"
    shutil.copytree(exported, out)
    damage(out)
    with pytest.raises((ValueError, OSError), match=message):
        encode_with(out)


def encode_with(folder):
    """Open an exported run and use its network."""
    archive = inres.Archive.open(folder)
    side = archive.config.items.input_px
    return archive.encode(np.zeros((1, side, side), np.uint8))


@pytest.fixture(scope="module")
def exported(smoke, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "run"
    with quick.compilation():
        inres.export_run(smoke[0], out)
    return out


def test_an_export_replaces_nothing_else(smoke, tmp_path):
    (tmp_path / "photo.png").touch()
    error = refused("export", f"--workdir={smoke[0]}", f"--out={tmp_path}")
    assert f"{tmp_path}: exists and is not an exported run" in error
    assert (tmp_path / "photo.png").exists()


def test_a_table_of_queries_is_searched_and_failing_rows_are_told(smoke, nodule, tmp_path):
    workdir, _ = smoke
    row, item, scan = nodule
    (tmp_path / "scan.mhd").symlink_to(scan)
    (tmp_path / scan.with_suffix(".zraw").name).symlink_to(scan.with_suffix(".zraw"))
    x, y, z = (item[name] for name in ("x_mm", "y_mm", "z_mm"))
    (tmp_path / "queries.csv").write_text(
        "name,item,scan,x_mm,y_mm,z_mm,slice\n"
        f"one,{row},,,,,\n"
        f"two,,scan.mhd,{x},{y},{z},\n"
        "three,,scan.mhd,,,,7\n"
        "four,,scan.mhd,,,,\n"
        "five,,none.mhd,,,,7\n"
        "six,99999,,,,,\n"
        ",0.5,,,,,\n"
    )
    # Codes of so short a training tie, so that a pool of few may not hold the item itself.
    flags = (f"--workdir={workdir}", f"--queries={tmp_path / 'queries.csv'}", "--nearest=60")
    done = call("search", *flags, f"--out={tmp_path / 'found'}", "--own_scan", "--k=4")
    assert done.returncode == 0, done.stderr
    assert "3 of 7 queries searched, 0 found nothing, 4 failed" in done.stdout
    assert "failed: four: " in done.stdout
    assert "line 5: a scan needs either x_mm, y_mm and z_mm, or slice" in done.stdout
    found = results(tmp_path / "found")
    failed = [r for r in found if not r["rank"]]
    assert [r["query"] for r in failed] == ["four", "five", "six", "0.5"]
    assert all(r["note"].startswith("failed: ") for r in failed)
    found = [r for r in found if r["rank"]]
    assert [r["query"] for r in found] == ["one"] * 4 + ["two"] * 4 + ["three"] * 4
    assert {r["item"] for r in found if r["rank"] == "1"} >= {str(row)}
    assert [r["item"] for r in found[:4]] == [r["item"] for r in found[4:8]]
    (tmp_path / "queries.csv").write_text("name,place\na,b\n")
    assert "none of the columns item, image, scan" in refused("search", *flags)
    assert "name one query by --item" in refused("search", *flags, "--item=3")


def test_a_wrong_config_is_named_when_a_run_is_searched(smoke):
    workdir, _ = smoke
    flags = (SMOKE, f"--workdir={workdir}", "--item=3")
    assert call("search", *flags, "--config.search.threshold=9").returncode == 0
    error = refused("search", *flags, "--config.hash.bits=12")
    assert "hash.bits was 48, now 12" in error


def test_scans_are_added_to_a_finished_run(smoke, tmp_path):
    """Those of the test part, which the run has encoded itself: with the same results."""
    original, _ = smoke
    workdir = tmp_path / "run"
    shutil.copytree(original, workdir)
    archive = inres.Archive.open(workdir)
    own = archive._run
    present = {*archive.records.column("scan")}
    tested = [
        row
        for row, item in enumerate(own.items)
        if item.nodule and not item.offset_mm and item.scan not in present
    ]
    assert tested
    done = call("add", f"--workdir={workdir}", f"--scans={workdir / 'scans'}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped, in the archive already:" in done.stdout
    assert sum(scan in done.stdout for scan in present) == min(len(present), 10)
    assert f"added {len(tested)} items of" in done.stdout
    grown = inres.Archive.open(workdir)
    assert len(grown) == len(archive) + len(tested)
    items_now = grown._run.items[len(own.items) :]
    place = {item.nodule: number for number, item in enumerate(items_now, len(own.items))}
    for row in tested:
        number = place[own.items[row].nodule]
        assert items.Item(**vars(items_now[number - len(own.items)])).label == own.items[row].label
        np.testing.assert_array_equal(grown._run.images[number], own.images[row])
        for layer in ("fc1", "h", "fc3", "properties"):
            np.testing.assert_allclose(
                getattr(grown._run.encoded(number), layer),
                getattr(own.encoded(row), layer),
                atol=1e-5,
            )
    hits = grown.search_item(tested[0], own_scan=True)
    assert hits[0].record["nodule"] == own.items[tested[0]].nodule
    # Everything is there already now.
    again = call("add", f"--workdir={workdir}", f"--scans={workdir / 'scans'}")
    assert "added 0 items of 0 scans" in again.stdout, again.stderr
    # Also under another name and in another format.
    path = next((workdir / "scans").glob(f"subset*/{own.items[tested[0]].scan}.mhd"))
    sitk.WriteImage(sitk.ReadImage(str(path)), str(tmp_path / "renamed.nii.gz"))
    (tmp_path / "cases.csv").write_text("scan,diameter_mm\nrenamed.nii.gz,0\n")
    copy = call(
        *("add", f"--workdir={workdir}", f"--scans={tmp_path / 'cases.csv'}", "--normals=2")
    )
    assert "added 0 items of 0 scans" in copy.stdout, copy.stderr
    assert f"renamed.nii.gz: skipped, its voxels are those of {path.stem}" in copy.stdout
    scan = own.items[tested[0]].scan
    gone = call("remove", f"--workdir={workdir}", f"--where=scan = '{scan}'")
    assert gone.returncode == 0, gone.stderr
    assert len(inres.Archive.open(workdir)) < len(grown)
    assert "no such column: size" in refused("remove", f"--workdir={workdir}", "--where=size > 3")
    lost = refused("reproduce", SMOKE, f"--workdir={workdir}", "--redo=index")
    assert f"{workdir / 'index' / 'added'}: {len(tested)} items were added" in lost
