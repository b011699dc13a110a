"""The real command line on a folder of images, and what it refuses."""

import json
import os

import numpy as np
import pytest
from cli import SMOKE, call, refused, results

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("flag", "part"),
    [
        ("--config.hash.bit=64", "bit"),
        ("--config.hash.bits=0", "config.hash.bits = 0"),
        ("--config.hash.bits=many", "bits"),
        ("--config.data.kind=luna16", "config.data.root"),
        ("--redo=trian", "trian"),
    ],
)
def test_a_mistyped_setting_stops_before_work(tmp_path, flag, part):
    error = refused("prepare", SMOKE, f"--workdir={tmp_path / 'w'}", flag)
    assert part in error
    assert not list((tmp_path / "w").glob("*/*"))


def test_a_folder_of_crops_goes_the_same_road(tmp_path):
    """Bright discs of two sizes, no scans, no masks: learned and found.

    The names of scans are mathematics to a plotting library, and markup to a browser.
    """
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
        lines.append(f"images/{i}.png,<i>$^${i // 4},,{i % 2},,,{'test' if i >= 90 else 'train'}")
    (root / "items.csv").write_text("\n".join(lines) + "\n")
    flags = (
        "--config=experiments/configs/folder.py",
        f"--config.data.root={root}",
        f"--workdir={tmp_path / 'w'}",
        "--config.items.size_px=32",
        "--config.model.stem=8",
        "--config.model.fc1=32",
        "--config.model.norm=none",
        "--config.model.compression=plain",  # compiles faster
        "--config.model.residual=plain",
        "--config.pdf=False",
        "--config.train.epochs=6",
        "--config.train.images=0",
        "--config.train.batch=16",
        "--config.hash.bits=16",
    )
    error = refused("reproduce", *flags, "--config.train.keep=best")
    assert "no validation part" in error
    best = ("--config.split.val_share=0.2", "--config.train.keep=best", "--config.train.patience=8")
    flags = (*flags, *best, "--config.train.eval_every=2", "--redo=split")
    done = call("reproduce", *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    flags = flags[:-1]
    summary = json.loads((tmp_path / "w" / "train" / "summary.json").read_text())
    assert f"kept step {summary['kept_step']}: validation map_macro" in done.stdout
    assert summary["kept_step"] <= summary["steps"]
    metrics = json.loads((tmp_path / "w" / "evaluation" / "metrics.json").read_text())
    assert metrics["rankings"]["two_stage"]["map_macro"] > 0.95
    assert metrics["rankings"]["two_stage"]["diameter_error_mm_at_10"] is None
    assert metrics["segmentation"] is None
    image = root / "images" / "5.png"
    done = call("search", *flags, f"--image={image}", f"--out={tmp_path / 'found'}")
    assert done.returncode == 0, done.stderr
    assert "<i>$^$1" not in {row["scan"] for row in results(tmp_path / "found")}  # its own
    report = (tmp_path / "w" / "report.html").read_text(encoding="utf-8")
    assert "&lt;i&gt;$^$" in report
    assert "<i>" not in report
    small = tmp_path / "small.png"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((20, 20), np.uint8)), str(small))
    error = refused("search", *flags, f"--image={small}")
    assert "20 pixels a side, but the archive's images have 32" in error
    assert "images of a folder, not scans" in refused("search", *flags, "--scan=a.mhd", "--slice=3")
    made = {path: path.read_bytes() for path in (tmp_path / "w").glob("*/stage.json")}
    typo = [flag.replace(str(root), f"{root}_typo") for flag in flags]
    error = refused("prepare", *typo, "--redo=prepare")
    assert f"{root}_typo: no such folder" in error
    error = refused("train", *flags, "--redo=train", "--config.items.neighbours=0")
    assert "items.neighbours was 3, now 0" in error
    assert "--redo=prepare" in error
    assert {path: path.read_bytes() for path in (tmp_path / "w").glob("*/stage.json")} == made
    assert len(made) == 6
    done = call("reproduce", *flags)
    assert done.stdout.count("done already, skipped") == 6
    kept = max((tmp_path / "w" / "train" / "best").glob("*/default/**/d/*"), key=os.path.getsize)
    kept.write_bytes(kept.read_bytes()[: kept.stat().st_size // 2])
    error = refused("search", *flags, f"--image={image}")
    assert f"best/{summary['kept_step']}: damaged checkpoint (" in error
    assert "run the train stage again" in error
    (root / "items.csv").write_text("\n".join(lines).replace(",1,,,train", ",0,,,train") + "\n")
    error = refused("prepare", *flags)
    assert "other data: input files changed" in error
    error = refused("train", *flags[:2], *flags[3:], f"--workdir={tmp_path / 'v'}")
    assert "run the segment stage first" in error
    assert call("prepare", *flags[:2], f"--workdir={tmp_path / 'v'}").returncode == 0
    error = refused("split", *flags[:2], f"--workdir={tmp_path / 'v'}")
    assert "class 1 has" in error
    assert "none to train on" in error


def test_a_workdir_that_is_also_the_data_folder_keeps_its_files(tmp_path):
    """Images in train/ and test/, which are also names of stages."""
    import SimpleITK as sitk

    rng = np.random.default_rng(0)
    lines = ["image,scan,label,split"]
    for i in range(24):
        path = tmp_path / ("train", "test")[i >= 16] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        image = rng.integers(0, 256, (32, 32), np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(image), str(path))
        lines.append(f"{path.relative_to(tmp_path)},s{i},{i % 2},{path.parent.name}")
    table = tmp_path / "items.csv"
    table.write_text("\n".join(lines) + "\n")
    flags = (
        "--config=experiments/configs/folder.py",
        f"--config.data.root={tmp_path}",
        f"--workdir={tmp_path}",
    )
    assert call("prepare", *flags).returncode == 0
    table.write_text("\n".join(lines).replace("s23", "s24") + "\n")
    assert "--redo=prepare" in refused("prepare", *flags)
    assert call("prepare", *flags, "--redo=prepare").returncode == 0
    error = refused("reproduce", *flags)
    assert f"{tmp_path / 'train'} exists and was not made by this program" in error
    assert len(list((tmp_path / "train").iterdir())) == 16
    assert not (tmp_path / "split").exists()
