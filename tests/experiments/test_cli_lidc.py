"""The LIDC-IDRI through the real command line, on phantoms in its layout."""

import csv
import json
import math
import shutil

import pytest
from cli import call, refused, results
from lidc import xml_texts as xml
from sources.boxes import quiet

from inres.config import Phantom
from inres.phantoms.dataset import write_dataset
from inres.phantoms.lidc_layout import LIDC
from inres.studies.lidc_luna16 import GEOMETRY

pytestmark = pytest.mark.e2e

SMALL = (
    *("--config.pdf=False", "--config.data.workers=1", "--config.items.normals=24"),
    *("--config.items.spacing_mm=2.0", "--config.items.cube_mm=48", "--config.items.cube_px=23"),
    *("--config.segment.enabled=False", "--config.model.stem=8", "--config.model.fc1=32"),
    *("--config.model.compression=plain", "--config.model.residual=plain"),  # compile faster
    *("--config.train.learning_rate=0.01", "--config.train.clip_norm=4"),
    *("--config.train.images=0", "--config.train.epochs=6", "--config.train.eval_every=6"),
    *("--config.train.batch=16", "--config.train.warmup_epochs=0.5"),
    *("--config.hash.bits=16", "--config.hash.records=False"),
    *("--config.split.test_share=0.3", "--config.split.val_share=0.2"),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(data, flags of the run, what it printed)."""
    root = tmp_path_factory.mktemp("lidc")
    config = Phantom(scans=9, subsets=3, nodules_per_scan=6.0, matrix=128, extent_mm=80.0)
    write_dataset(root / "data", config, seed=4, workers=1, progress=quiet, layout=LIDC)
    flags = (
        "--config=experiments/configs/lidc.py",
        f"--config.data.root={root / 'data'}",
        f"--workdir={root / 'run'}",
        *SMALL,
    )
    done = call("reproduce", *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    return root, flags, done.stdout


def items(root):
    with open(root / "run" / "prepare" / "items.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_nodules_with_ratings_are_learned_and_split_by_patient(run):
    root, _, printed = run
    rows = items(root)
    nodules = [row for row in rows if row["nodule"]]
    assert 25 < len(nodules) < 54  # readers missed some of the 54
    assert {row["patient"] for row in rows} <= {f"LIDC-IDRI-{n:04d}" for n in range(1, 9)}
    assert all(float(row["readers"]) >= 3 for row in nodules)
    assert all(len(row["malignancy_readers"].split(";")) == 4 for row in nodules)
    assert "1 XML file(s) of another kind" in printed
    metrics = json.loads((root / "run" / "evaluation" / "metrics.json").read_text())
    compared = {row["property"] for row in metrics["properties"]}
    assert {"malignancy", "texture", "diameter_mm"} <= compared
    sides: dict[str, set[str]] = {}
    with open(root / "run" / "split" / "split.csv", newline="") as file:
        for row in csv.DictReader(file):
            sides.setdefault(row["patient"], set()).add(row["side"])
    assert all(len(side) == 1 for side in sides.values())
    assert len({row["scan"] for row in rows}) == 9 > len(sides)


def test_a_dicom_folder_is_recognised_by_its_series(run):
    """A place in the series of a nodule finds this nodule, unless its scan is left out."""
    root, flags, _ = run
    # An item that the network was not trained on shows as much of its scan as a query does.
    sides = results(root / "run" / "split" / "split")
    nodule = next(
        row
        for row, split in zip(items(root), sides, strict=True)
        if row["nodule"] and split["side"] == "val"
    )
    place = ",".join(nodule[name] for name in ("x_mm", "y_mm", "z_mm"))
    folder = next(
        path
        for path in (root / "data").glob("LIDC-*/*/*")
        if path.name.endswith(nodule["scan"][-5:])
    )
    other = shutil.copytree(folder, root / "a folder of another name")
    search = (*flags, f"--scan={other}", f"--world={place}")
    done = call("search", *search, "--own_scan", f"--out={root / 'own'}")
    assert done.returncode == 0, done.stdout + done.stderr
    first, second, *_ = results(root / "own")
    assert first["nodule"] == nodule["nodule"]
    assert first["hamming"] == "0"
    assert float(first["euclidean"]) < 1e-3 < float(second["euclidean"])
    done = call("search", *search, "--k=50", f"--out={root / 'others'}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert nodule["scan"] not in {row["scan"] for row in results(root / "others")}
    alone = next(other.glob("1-*.dcm"))
    done = call("search", *flags, f"--image={alone}", "--k=50", f"--out={root / 'slice'}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert nodule["scan"] not in {row["scan"] for row in results(root / "slice")}


def test_the_readers_outlines_of_a_result_are_found_again(run):
    from inres import Archive
    from inres.lidc import outlines
    from inres.sources import lidc

    root, *_ = run
    archive = Archive.open(root / "run")
    hit = archive.search_item(0, where="readers >= 3 AND texture_readers <> ''")[0]
    marks = lidc.marks_of(root / "data", hit.record)
    assert len(marks) == hit.record["readers"]
    given = str(hit.record["texture_readers"]).split(";")
    assert [str(mark.ratings.get("texture", "-")) for mark in marks] == [
        given[mark.reader] for mark in marks
    ]
    assert all(outlines.mask(mark).pixels.any() for mark in marks)


def test_the_check_against_luna16_prints_and_writes_tables(tmp_path):
    (tmp_path / "1.xml").write_text(
        xml.document(*(xml.nodule(xml.roi(-5, xml.ring(10, 10, 19, 19))) for _ in range(3)))
    )
    (tmp_path / "seriesuids.csv").write_text("seriesuid\n1.2.3\n")
    head = "seriesuid,coordX,coordY,coordZ,diameter_mm\n"
    volume = 64 * 0.5 * 0.5 * 2
    diameter = (6 * volume / math.pi) ** (1 / 3)
    (tmp_path / "annotations.csv").write_text(f"{head}1.2.3,7.25,7.25,-5,{diameter}\n")
    (tmp_path / "annotations_excluded.csv").write_text(f"{head}1.2.3,7.25,7.25,-5,{diameter}\n")
    (tmp_path / "geometry.csv").write_text(f"{','.join(GEOMETRY)}\n1.2.3,0,0,-9,0.5,0.5,2\n")
    flags = (
        f"--readings={tmp_path / '1.xml'}",
        f"--luna16={tmp_path}",
        f"--out={tmp_path / 'out'}",
    )
    done = call("lidc_check", *flags, f"--geometry={tmp_path / 'geometry.csv'}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 CT series read, 0 XML files of another kind" in done.stdout
    assert [(row["agree"], row["of"]) for row in results(tmp_path / "out" / "agreement")] == [
        ("1", "1")
    ] * 6
    (row,) = results(tmp_path / "out" / "nodules")
    assert row["agrees"] == "yes"
    error = refused("lidc_check", *flags, f"--readings={tmp_path / 'no.zip'}")
    assert "no.zip: no such file or folder" in error
