"""The ablation runner, end to end: a tiny grid on a folder of discs."""

import json

import numpy as np
import pytest
from cli import call, results

from inres.pipeline import stages

pytestmark = pytest.mark.e2e


def test_a_grid_is_run_shared_compared_and_not_run_twice(tmp_path):
    import SimpleITK as sitk

    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16] - 7.5
    lines = ["image,scan,label,diameter_mm,split"]
    for i in range(72):
        radius = (2, 4, 6)[i % 3] + rng.random()
        image = 200 * (np.hypot(x, y) < radius) + rng.integers(0, 40, (16, 16))
        path = f"images/{i}.png"
        sitk.WriteImage(sitk.GetImageFromArray(image.astype(np.uint8)), str(root / path))
        side = "test" if i >= 54 else "train"
        lines.append(f"{path},s{i // 6},{1 + i % 3},{2 * radius},{side}")
    (root / "items.csv").write_text("\n".join(lines) + "\n")
    work = tmp_path / "w"
    settings = (  # a loss whose targets come from class and diameter uses the full pipeline
        "--config=experiments/configs/ablate_stages.py:folder",
        f"--config.base.data.root={root}",
        f"--workdir={work}",
        "--config.base.items.size_px=16",
        "--config.base.model.stem=4",
        "--config.base.pdf=False",
        "--config.base.model.norm=none",
        "--config.base.model.compression=plain",  # compiles faster
        "--config.base.model.residual=plain",
        "--config.base.model.fc1=8",
        "--config.base.train.epochs=2",
        "--config.base.train.images=0",
        "--config.base.train.batch=8",
        "--config.base.hash.bits=8",
        "--config.base.loss.name=ordinal",
        "--config.base.split.val_share=0",
        "--config.seeds=(0,)",
        "--config.rankings=('two_stage','hamming')",
        "--config.measures=('average_precision',)",
    )
    pair = "--config.variants=({'search.threshold': 3}, {'search.threshold': 2})"
    wide, narrow = (work / "runs" / f"search.threshold={t}-seed0" for t in (3, 2))
    with stages.lock(wide):  # as if another process were making it
        done = call("ablate", *settings, pair)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "other processes are still working on 1 runs" in done.stdout
    assert (narrow / "config.json").is_file()
    assert not (work / "ablation.csv").exists()
    done = call("ablate", *settings, pair)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("done already, skipped (") >= 1
    rows = results(work / "ablation")
    assert [(row["variant"], row["ranking"]) for row in rows] == [
        ("search.threshold=3", "two_stage"),
        ("search.threshold=2", "two_stage"),
        ("search.threshold=3", "hamming"),
        ("search.threshold=2", "hamming"),
    ]
    for row, run in zip(rows, (wide, narrow, wide, narrow), strict=True):
        metrics = json.loads((run / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
        want = metrics["rankings"][row["ranking"]]["map_macro"]
        assert float(row["value"]) == pytest.approx(want)
    assert float(rows[1]["difference"]) == pytest.approx(
        float(rows[1]["value"]) - float(rows[0]["value"])
    )
    assert float(rows[3]["difference"]) == 0  # the threshold has no say in it
    shared = ("prepare", "split", "segment", "train", "index")
    assert [(wide / name).resolve() for name in shared] == [narrow / name for name in shared]
    assert not (wide / "evaluation").is_symlink()
    assert not work.joinpath("ablation.pdf").exists()
    for suffix in (".tex", ".md", ".json", ".png", ".svg"):
        assert (work / f"ablation{suffix}").stat().st_size > 0
    commands = (work / "commands.txt").read_text(encoding="utf-8").splitlines()
    assert len(commands) == 2
    assert f"--workdir={narrow}" in commands[1]
    assert "--config.search.threshold=2" in commands[1]
    again = call("ablate", *settings, pair)
    assert again.stdout.count("done already, skipped") == 2
    assert "started" not in again.stdout
    assert results(work / "ablation") == rows
