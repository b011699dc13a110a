"""Benchmark of a training step at a tiny size, compared with PyTorch if it is installed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.bench import training
from experiments.configs.bench_training import get_config

pytestmark = pytest.mark.usefixtures("quick_programs")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def config():
    config = get_config()
    config.seed = 1  # with seed 0 one gradient consists of rounding errors only
    config.experiment.items.size_px = 16
    config.experiment.model.stem = 8
    config.experiment.model.fc1 = 12
    config.experiment.hash.bits = 6
    config.experiment.train.batch = 8
    config.loop_steps, config["items"] = 6, 20
    config.compiled = False
    config.rounds, config.round_seconds = 3, 0.05
    return config


@pytest.fixture(scope="module")
def ours(config):
    images, labels = training.random_data(config)
    bare = training.bare(config.experiment)
    return training.Ours(bare, images[:8], labels[:8], classes=8, steps=6)


@pytest.fixture(scope="module")
def snapshot(ours):
    return ours.snapshot()


def test_the_snapshot_matches_the_formulas_of_nll(ours, snapshot):
    logits, loss, gradients = snapshot
    labels = ours.batch["label"]
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert loss == pytest.approx(-log_p[np.arange(8), labels].mean(), rel=1e-5)
    softmax = np.exp(log_p) - np.eye(8)[labels]
    np.testing.assert_allclose(gradients["head/fc3/bias"], softmax.mean(0), atol=1e-6)
    assert ours.step() == pytest.approx(loss, rel=1e-5)
    assert ours.step() != pytest.approx(loss, rel=1e-5)


def test_our_side_is_measured_without_a_peer(config, ours, tmp_path):
    result = training.measure(config, {"inres": ours}, {}, tmp_path)
    (row,) = result["rows"]
    assert (row["rival"], row["ratio"]) == ("inres", 1)
    assert row["images_per_second"] == pytest.approx(8e3 / row["ms"], rel=0.01)
    assert row["compile_s"] > row["ms"] / 1e3
    assert result["loop"]["step"] == 6
    assert 0 <= result["loop"]["input_wait_share"] < 1
    text = training.summary(result, tmp_path)
    assert "| inres |" in text
    assert (tmp_path / "training.md").read_text(encoding="utf-8") in text
    assert (tmp_path / "loop" / "log.jsonl").is_file()


def test_a_different_network_is_refused(snapshot):
    logits, loss, gradients = snapshot
    training.check(snapshot, snapshot)
    name = "inv2_1/path1_3x3/conv/kernel"
    other = {**gradients, name: gradients[name][::-1]}
    with pytest.raises(RuntimeError, match=f"the gradient of {name}"):
        training.check(snapshot, (logits, loss, other))
    with pytest.raises(RuntimeError, match="logits"):
        training.check(snapshot, (1.01 * logits, loss, gradients))
    less = {path: value for path, value in gradients.items() if path != "stem/norm/bias"}
    with pytest.raises(RuntimeError, match="stem/norm/bias"):
        training.check(snapshot, (logits, loss, less))


def test_pytorch_has_the_same_network(config, ours):
    pytest.importorskip("torch")
    ours.state = ours.fresh()
    assert len(training.trainers(config, ours, training.import_peer())) == 2


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("kind", "missing", "remedy"),
    [("training", "torch", ".[bench]"), ("retrieval", "faiss", ".[bench]")],
)
def test_a_missing_peer_is_one_error_with_its_remedy(tmp_path, kind, missing, remedy):
    without = (
        f"import runpy, sys; sys.modules[{missing!r}] = None; "
        "runpy.run_module('experiments.bench', run_name='__main__', alter_sys=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", without,
         f"--config=experiments/configs/bench_{kind}.py", f"--workdir={tmp_path / 'out'}"],
        cwd=ROOT, capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert missing in done.stderr
    assert remedy in done.stderr
    assert not (tmp_path / "out").exists()
