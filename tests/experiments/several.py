"""Commands run as several processes on this machine, and comparisons of what they leave."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import quick

ROOT = Path(__file__).resolve().parents[2]

FLAGS = (
    "--config=experiments/configs/folder.py",
    "--config.items.size_px=32",
    "--config.items.neighbours=1",
    "--config.split.kind=column",
    "--config.split.overlap=drop",
    "--config.segment.width=2",
    "--config.segment.depth=2",
    "--config.segment.size_px=32",
    "--config.segment.steps=24",
    "--config.segment.batch=8",
    "--config.model.stem=8",
    "--config.model.fc1=32",
    "--config.model.norm=none",
    "--config.model.compression=plain",  # compiles faster
    "--config.model.residual=plain",
    "--config.hash.bits=16",
    "--config.pdf=False",
    "--config.train.epochs=2",
    "--config.train.images=0",
    "--config.train.batch=16",
    "--config.train.keep=best",
    "--config.train.eval_every=1",
)
"""A small run on the images of `write_folder`."""


def write_folder(root):
    """Bright discs of two sizes inside of a mask, each item a slice with two neighbours."""
    import SimpleITK as sitk

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32] - 15.5
    lines = ["image,scan,nodule,label,diameter_mm,z_mm,split"]
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for nodule in range(96):
        label = nodule % 2
        radius = (3, 7)[label] + rng.random()
        inside = np.hypot(x - rng.normal(), y) < 14
        scan = nodule // 4
        side = ("val", "test", "test", "train", "train", "train")[scan % 6]
        for z in range(2):
            image = 200 * (np.hypot(x, y) < radius - z) + rng.integers(0, 40, (32, 32))
            name = f"{nodule}_{z}.png"
            for folder, pixels in (("images", image), ("masks", 255 * inside)):
                picture = sitk.GetImageFromArray(pixels.astype(np.uint8))
                sitk.WriteImage(picture, str(root / folder / name))
            diameter = f"{2 * radius:.2f}"
            lines.append(f"images/{name},s{scan},n{nodule},{label},{diameter},{z},{side}")
    (root / "items.csv").write_text("\n".join(lines) + "\n")


def command(processes, module, *arguments):
    """The command line: under the launcher for several processes."""
    own = ["-m", f"experiments.{module}", *map(str, arguments)]
    if processes == 1:
        return [sys.executable, *own]
    launch = ["-m", "experiments.launch", f"--processes={processes}", "--"]
    return [sys.executable, *launch, *own]


def run(processes, module, *arguments):
    return subprocess.run(
        command(processes, module, *arguments),
        cwd=ROOT,
        env=quick.environment() | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )


def copy_stages(source, target, stages):
    """A workdir with some finished stages of another."""
    target.mkdir(parents=True, exist_ok=True)
    for stage in stages:
        shutil.copytree(source / stage, target / stage)
    for name in ("config.json", "environment.json"):
        shutil.copy(source / name, target / name)
    return target


def weights(workdir, stage="train"):
    """The last weights of a stage by name."""
    import flax.traverse_util

    from inres.learning.checkpoints import Checkpoints

    variables = Checkpoints.read_variables(workdir / stage / "checkpoints")
    return flax.traverse_util.flatten_dict(variables["params"], sep="/")


def largest_difference(one, other, stage="train"):
    """The largest relative difference of an array of weights."""
    ours, theirs = (weights(workdir, stage) for workdir in (one, other))
    assert ours.keys() == theirs.keys()
    return max(
        float(np.linalg.norm(ours[name] - theirs[name]) / np.linalg.norm(ours[name]))
        for name in ours
        if np.any(ours[name])
    )


def archive_differences(one, other):
    """Files of two stages `index` that differ: none, if the archives are identical."""
    found = []
    for path in sorted((one / "index").rglob("*")):
        twin = other / path.relative_to(one)
        if path.suffix == ".npz" and path.is_file():  # with the times of writing
            ours, theirs = (np.load(p) for p in (path, twin))
            same = ours.files == theirs.files
            same &= all(np.array_equal(ours[name], theirs[name]) for name in ours.files)
        elif path.is_file() and path.name not in ("begun.json", "stage.json"):
            same = path.read_bytes() == twin.read_bytes()
        else:
            continue
        if not same:
            found.append(str(path.relative_to(one)))
    return found


def rankings(workdir):
    """What an evaluation says, but for the times that it measured."""
    metrics = json.loads((workdir / "evaluation" / "metrics.json").read_text())
    for row in metrics["efficiency"]:
        row.pop("seconds_per_query")
    return metrics


def ranking_differences(one, other):
    """Names of the per-query scores and of the metrics in which two evaluations differ."""
    ours, theirs = (np.load(w / "evaluation" / "per_query.npz") for w in (one, other))
    found = sorted(set(ours.files) ^ set(theirs.files))
    for name in ours.files:
        a, b = ours[name], theirs[name]
        if not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            found.append(name)
    a, b = (rankings(workdir) for workdir in (one, other))
    return found + [name for name in a if a[name] != b.get(name)]


def one_message(error):
    """The only error line that a command wrote, which failed without a traceback."""
    assert "Traceback" not in error, error
    lines = [line for line in error.splitlines() if re.match("error: ", line)]
    assert len(lines) == 1, error
    return lines[0]
