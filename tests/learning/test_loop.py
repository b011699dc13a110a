import functools
import json
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import train_worker
from processes import run

from inres.data import batches
from inres.learning import loop
from inres.learning.best import Best
from inres.learning.checkpoints import Checkpoints
from inres.learning.devices import data_mesh, put_batch, replicated
from inres.learning.logs import MetricLog, read_log
from inres.learning.optimizer import sgd
from inres.learning.step import make_train_step
from inres.learning.step_metrics import TrainingError
from inres.learning.train_state import begin, init_state, restore

pytestmark = pytest.mark.slow

STEPS, BATCH = 12, 4
X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
DATA = {"x": X, "y": X @ np.array([1.0, -2.0, 0.5], np.float32)}


def loss_fn(params, batch_stats, batch, key, step):
    """Noisy least squares with a running mean, so every part of the state matters."""
    noise = 0.01 * jax.random.normal(key, batch["y"].shape)
    error = batch["x"] @ params["w"] + params["b"] - batch["y"] + noise
    stats = {"mean": 0.9 * batch_stats["mean"] + 0.1 * batch["x"].mean(0)}
    return jnp.mean(error**2), (stats, {"error": jnp.abs(error).mean()})


def optimizer():
    return sgd(
        learning_rate=0.1,
        steps=STEPS,
        warmup_steps=3,
        momentum=0.9,
        nesterov=True,
        weight_decay=0.01,
    )[0]


def fresh(mesh):
    variables = {
        "params": {"w": jnp.zeros((3,)), "b": jnp.zeros(())},
        "batch_stats": {"mean": jnp.zeros(3)},
    }
    return init_state(variables, optimizer(), mesh=mesh)


def batches_from(start, data=DATA):
    return batches.batches(
        data, weights=np.full(20, 1 / 20), batch=BATCH, seed=0, start=start, steps=STEPS
    )


@functools.cache
def step_of(loss):
    """A step that all tests of this loss share, so that it is compiled once."""
    return make_train_step(loss, optimizer(), key=jax.random.key(1), mesh=data_mesh(1))


def train(root, steps, *, loss=loss_fn, data=DATA, resume=False):
    mesh = data_mesh(1)
    state = fresh(mesh)
    checkpoints = Checkpoints(root / "checkpoints")
    if resume:
        state = restore(lambda: fresh(mesh), checkpoints, mesh=mesh)
    start = int(state.step)
    source = batches_from(start, data)
    with MetricLog(root, step=start) as log:
        try:
            return loop.fit(
                state,
                step_of(loss),
                source,
                steps=steps,
                steps_per_epoch=5,
                mesh=mesh,
                log=log,
                checkpoints=checkpoints,
                checkpoint_every=5,
            )
        finally:
            checkpoints.close()


@pytest.mark.parametrize("stop", [1, 5, 7, 11])
def test_stopping_anywhere_changes_no_bit(tmp_path, stop):
    whole = train(tmp_path / "whole", STEPS)
    train(tmp_path / "parts", stop)
    resumed = train(tmp_path / "parts", STEPS, resume=True)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    logs = [read_log(tmp_path / p / "log.jsonl") for p in ("whole", "parts")]
    assert logs[0][-1]["loss"] == logs[1][-1]["loss"]
    assert [r["step"] for r in logs[1]] == sorted({r["step"] for r in logs[1]})


def test_two_processes_train_like_one_and_one_resumes_their_training(tmp_path, quick_programs):
    said = run(train_worker.__file__, 2, 2, tmp_path / "two", 3)
    assert said == "step 3 on 4 devices"
    got, expected = (
        train_worker.train(tmp_path / name, train_worker.STEPS) for name in ("two", "one")
    )
    assert read_log(tmp_path / "two" / "process0" / "log.jsonl")[0]["step"] == 1
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(expected), strict=True
    ):  # rounding differs, and grows from step to step
        assert np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(b), jax.tree_util.keystr(path)


def test_ctrl_c_loses_no_step(tmp_path, monkeypatch):
    whole = train(tmp_path / "whole", STEPS)
    real = loop.put_batch
    calls = []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(loop, "put_batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", STEPS)
    monkeypatch.setattr(loop, "put_batch", real)
    keeper = Checkpoints(tmp_path / "parts" / "checkpoints")
    assert keeper.latest() == 7
    keeper.close()
    resumed = train(tmp_path / "parts", STEPS, resume=True)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("clip", [0.0, 0.3, 1e6])
def test_a_step_is_nesterov_sgd_by_hand(clip):
    mesh = data_mesh(1)
    key = jax.random.key(1)
    opt, rate = sgd(
        learning_rate=0.1,
        steps=9,
        schedule="constant",
        momentum=0.9,
        nesterov=True,
        weight_decay=0.01,
        clip_norm=clip,
    )
    state = init_state({"params": {"w": jnp.ones((3, 1))}, "batch_stats": {}}, opt, mesh=mesh)

    def loss(params, stats, batch, key, step):
        return jnp.mean((batch["x"] @ params["w"]) ** 2), (stats, {})

    step = make_train_step(loss, opt, key=key, mesh=mesh)
    w, velocity = np.ones((3, 1)), np.zeros((3, 1))
    for _ in range(3):
        state, metrics = step(state, put_batch({"x": X[:4]}, mesh))
        product = X[:4] @ w
        assert float(metrics["loss"]) == pytest.approx(np.mean(product**2), rel=1e-5)
        gradient = 2 * X[:4].T @ product / 4
        if clip:
            gradient *= min(1.0, clip / np.linalg.norm(gradient))
        gradient += 0.01 * w
        velocity = 0.9 * velocity + gradient
        w = w - 0.1 * (gradient + 0.9 * velocity)
        np.testing.assert_allclose(state.params["w"], w, rtol=1e-5)
    assert rate(7) == pytest.approx(0.1)


def test_a_loss_that_is_not_finite_stops_with_step_and_value(tmp_path):
    def explode(params, stats, batch, key, step):
        loss, out = loss_fn(params, stats, batch, key, step)
        return jnp.where(jnp.abs(params["b"]) > 0, jnp.nan, loss), out

    with pytest.raises(TrainingError, match=r"loss is nan at step 2") as caught:
        train(tmp_path, STEPS, loss=explode)
    assert "finite weights" not in str(caught.value)  # there is no checkpoint yet


def breaks_at(done):
    """A finite loss whose gradient is NaN in the update to step `done`."""

    def loss(params, stats, batch, key, step):
        loss, out = loss_fn(params, stats, batch, key, step)
        return loss + jnp.sqrt(jnp.where(step == done - 1, 0.0, 1.0) * (1 + params["b"] ** 2)), out

    return loss


@pytest.mark.parametrize(("done", "kept"), [(3, None), (5, None), (10, 5), (12, 10)])
def test_weights_that_are_not_finite_stop_and_are_never_saved(tmp_path, done, kept):
    with pytest.raises(TrainingError, match=f"not finite after step {done} ") as caught:
        train(tmp_path, STEPS, loss=breaks_at(done))
    keeper = Checkpoints(tmp_path / "checkpoints")
    assert keeper.latest() == kept
    if kept is None:
        assert "holds" not in str(caught.value)
    else:
        assert f"checkpoints/{kept} holds finite weights" in str(caught.value)
        state = keeper.restore(fresh(data_mesh(1)))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
    keeper.close()


@pytest.mark.parametrize(
    ("module", "name", "call"), [(loop, "put_batch", 8), (jax, "device_get", 6)]
)
def test_ctrl_c_saves_no_weights_that_are_not_finite(tmp_path, monkeypatch, module, name, call):
    """Ctrl-C comes between steps, or while the metrics of the previous step are fetched."""
    real = getattr(module, name)
    calls = []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(module, name, interrupted)
    stops = (TrainingError, KeyboardInterrupt)  # the second alone would end pytest
    with pytest.raises(stops, match=r"not finite after step 7 .*/5 holds"):
        train(tmp_path, STEPS, loss=breaks_at(7))
    keeper = Checkpoints(tmp_path / "checkpoints")
    assert keeper.latest() == 5
    keeper.close()


def test_statistics_that_are_not_finite_are_found_where_the_loss_is_finite(tmp_path):
    def overflow(params, stats, batch, key, step):
        loss, (new, metrics) = loss_fn(params, stats, batch, key, step)
        return loss, ({"mean": new["mean"] + jnp.where(step == 3, jnp.inf, 0.0)}, metrics)

    with pytest.raises(TrainingError, match="not finite after step 4 "):
        train(tmp_path, STEPS, loss=overflow)


def test_the_log_has_rates_and_is_strict_json(tmp_path):
    train(tmp_path, STEPS)
    text = (tmp_path / "log.jsonl").read_text()
    rows = [json.loads(line, parse_constant=lambda c: pytest.fail(c)) for line in text.splitlines()]
    assert [r["step"] for r in rows] == [1, 5, 10, 12]
    assert all(r["images_per_second"] > 0 and 0 <= r["input_wait_share"] <= 1 for r in rows)
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    train(tmp_path, STEPS)
    keeper = Checkpoints(tmp_path / "checkpoints")
    mesh = data_mesh(1)
    state = fresh(mesh)
    other = state.replace(params={"w": jnp.zeros((4,)), "b": jnp.zeros(())})
    with pytest.raises(ValueError, match=r"params/w is \(\(3,\), 'float32'\)"):
        keeper.restore(other)
    half = state.replace(params=jax.tree.map(lambda x: x.astype(jnp.bfloat16), state.params))
    with pytest.raises(ValueError, match="bfloat16"):
        keeper.restore(half)
    with pytest.raises(ValueError, match="only in the"):
        keeper.restore(state.replace(params={"w": jnp.zeros((3,))}))
    keeper.close()
    empty = Checkpoints(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        empty.restore(state)
    empty.close()


def test_training_begins_with_a_fresh_state_or_resumes_without_making_one(tmp_path):
    mesh = data_mesh(1)
    made = []

    def make():
        state = fresh(mesh)
        made.append(isinstance(state.params["w"], jax.core.Tracer))
        return state

    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert begin(make, checkpoints, mesh=mesh).step == 0
    assert made == [False]
    want = train(tmp_path, 5)
    state = begin(make, Checkpoints(tmp_path / "checkpoints"), mesh=mesh)
    assert made == [False, True]
    for a, b in zip(jax.tree.leaves(want), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(a, b)
        assert b.sharding == replicated(mesh)


SCORES = {2: 0.3, 4: 0.7, 6: 0.7, 8: 0.5, 10: 0.6, 12: 0.9}


def search_best(
    root, steps, *, patience=0, resume=False, scores=SCORES, interrupt=0, break_off=0, save=3
):
    """Train with given validation scores; (last step, kept step, kept state).

    Ctrl-C comes after step `interrupt`. It comes twice, so that it is not deferred, in the
    evaluation after step `break_off`.
    """
    mesh = data_mesh(1)
    state = fresh(mesh)
    checkpoints = Checkpoints(root / "checkpoints")
    best = Best(root / "best", "score", patience=patience)
    if resume:
        state = checkpoints.restore(state)
    start = int(state.step)

    def train_step(state, batch):
        state, metrics = step_of(loss_fn)(state, batch)
        if int(state.step) == interrupt:
            signal.raise_signal(signal.SIGINT)
        return state, metrics

    def evaluate(state):
        if int(state.step) == break_off:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return {"score": scores[int(state.step)]}

    source = batches_from(start)
    try:
        with MetricLog(root, step=start) as log:
            state = loop.fit(
                state,
                train_step,
                source,
                steps=steps,
                steps_per_epoch=5,
                mesh=mesh,
                log=log,
                checkpoints=checkpoints,
                checkpoint_every=save,
                evaluate=evaluate,
                evaluate_every=2,
                best=best,
            )
    finally:
        checkpoints.close()
        best.close()
    kept = Checkpoints(root / "best").restore(fresh(mesh))
    return int(state.step), best.step, kept


@pytest.mark.parametrize(("patience", "last", "kept"), [(0, 12, 12), (4, 8, 4), (8, 12, 12)])
def test_the_best_state_is_kept_and_patience_ends(tmp_path, patience, last, kept):
    assert search_best(tmp_path, STEPS, patience=patience)[:2] == (last, kept)


def test_interrupted_training_keeps_the_same_state(tmp_path):
    whole = search_best(tmp_path / "whole", STEPS, patience=4)
    search_best(tmp_path / "parts", 6, patience=4)  # ends after the best, before giving up
    parts = search_best(tmp_path / "parts", STEPS, patience=4, resume=True)
    again = search_best(tmp_path / "parts", STEPS, patience=4, resume=True)
    assert whole[:2] == parts[:2] == again[:2] == (8, 4)
    for other in (parts[2], again[2]):
        for a, b in zip(jax.tree.leaves(whole[2]), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(a, b)


LATE = {2: 0.3, 4: 0.5, 6: 0.4, 8: 0.9, 10: 0.6, 12: 0.6}


@pytest.mark.parametrize("stop", [5, 7, 8, 9, 11, 12])
def test_patience_counts_at_evaluations_wherever_training_was_interrupted(tmp_path, stop):
    with pytest.raises(KeyboardInterrupt):
        search_best(tmp_path, STEPS, patience=3, scores=LATE, interrupt=stop)
    for _ in range(2):
        resumed = search_best(tmp_path, STEPS, patience=3, scores=LATE, resume=True)
        assert resumed[:2] == (12, 8)


@pytest.mark.parametrize("step", [4, 8, 12])
def test_an_interrupted_evaluation_is_repeated(tmp_path, step):
    scores = dict.fromkeys(SCORES, 0.1) | {step: 0.9}
    whole = search_best(tmp_path / "whole", STEPS, scores=scores)
    with pytest.raises(KeyboardInterrupt):
        search_best(tmp_path / "parts", STEPS, scores=scores, break_off=step)
    parts = search_best(tmp_path / "parts", STEPS, scores=scores, resume=True)
    assert whole[:2] == parts[:2] == (12, step)
    for a, b in zip(jax.tree.leaves(whole[2]), jax.tree.leaves(parts[2]), strict=True):
        np.testing.assert_array_equal(a, b)
    rows = [r["step"] for r in read_log(tmp_path / "parts" / "log.jsonl") if r["kind"] == "val"]
    assert rows == [2, 4, 6, 8, 10, 12]


def test_the_evaluation_that_ends_training_may_be_interrupted(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        search_best(tmp_path, STEPS, patience=4, break_off=8)
    assert search_best(tmp_path, STEPS, patience=4, resume=True)[:2] == (8, 4)


def test_a_finished_evaluation_is_not_repeated(tmp_path):
    search_best(tmp_path, 6)
    again = {step: score for step, score in SCORES.items() if step > 6}
    assert search_best(tmp_path, STEPS, scores=again, resume=True)[:2] == (12, 12)


def test_an_evaluation_later_than_the_newest_checkpoint_does_not_end_training(tmp_path):
    """Training was killed after the evaluation, before the checkpoint of its step was written."""
    assert search_best(tmp_path, STEPS, patience=4, save=6)[:2] == (8, 4)
    keeper = Checkpoints(tmp_path / "checkpoints")
    keeper.drop_from(8)
    keeper.close()
    assert search_best(tmp_path, STEPS, patience=4, save=6, resume=True)[:2] == (8, 4)


def test_a_record_without_the_last_evaluation_is_still_read(tmp_path):
    search_best(tmp_path, 6, patience=4)
    path = tmp_path / "best" / "best.json"
    record = json.loads(path.read_text())
    assert record.pop("looked") == 6
    path.write_text(json.dumps(record))
    for _ in range(2):
        assert search_best(tmp_path, STEPS, patience=4, resume=True)[:2] == (8, 4)


def test_a_score_of_nan_keeps_nothing(tmp_path):
    mesh = data_mesh(1)
    best = Best(tmp_path, "score", patience=2)
    best.update(2, {"score": float("nan")}, fresh(mesh))
    assert best.step == 0
    assert best.exhausted(2)
    best.close()
    again = Best(tmp_path, "score", patience=2)
    again.update(4, {"score": 0.5}, fresh(mesh))
    assert (again.step, again.score, again.evaluated) == (4, 0.5, 4)
    again.close()


def test_resumed_training_replaces_a_best_state_of_other_weights(tmp_path):
    """Resumed from before the best step, with other rounding, training reaches other weights."""
    mesh = data_mesh(1)
    states = [fresh(mesh).replace(step=jnp.int32(step)) for step in (6, 4, 4)]
    for state, score in zip(states, (0.5, 0.6, 0.7), strict=True):
        marked = state.replace(params=jax.tree.map(lambda x, s=score: x * 0 + s, state.params))
        best = Best(tmp_path, "score")
        best.update(int(state.step), {"score": score}, marked)
        best.close()
        kept = Checkpoints(tmp_path).restore(fresh(mesh))
        assert (int(kept.step), best.score) == (int(state.step), score)
        assert all((np.asarray(x) == np.float32(score)).all() for x in jax.tree.leaves(kept.params))
