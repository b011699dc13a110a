"""The trace of some training steps, and what a training leaves to the device."""

import gzip
import json

import jax
import numpy as np
import pytest
from test_loop import BATCH, DATA, STEPS, batches_from, fresh, loss_fn, step_of

from inres.learning import loop, profiling
from inres.learning.devices import data_mesh, put_batch
from inres.learning.logs import MetricLog
from inres.learning.profiling import profiled


def train(root, *, start=0, steps=STEPS, profile=None, stop=None):
    """Train from a fresh state as if it were that of step `start`."""
    mesh = data_mesh(1)
    state = fresh(mesh).replace(step=jax.numpy.int32(start))
    with (
        MetricLog(root, step=start) as log,
        profiled(step_of(loss_fn), profile, start=start, steps=steps) as step,
    ):
        return loop.fit(
            state, step, batches_from(start), steps=stop or steps, steps_per_epoch=5, mesh=mesh,
            log=log,
        )  # fmt: skip


def traced_steps(folder):
    """The numbers of the steps in the trace for Perfetto, in order."""
    (path,) = folder.rglob("perfetto_trace.json.gz")
    assert len(list(path.parent.glob("*.xplane.pb"))) == 1  # what TensorBoard reads
    with gzip.open(path) as file:
        events = json.load(file)["traceEvents"]
    return sorted(int(e["args"]["step_num"]) for e in events if e.get("name") == "train")


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [(0, None, [3, 4, 5, 6]), (7, None, [8, 9, 10, 11]), (0, 5, [3, 4]), (9, None, [9, 10, 11])],
)
def test_the_steps_after_the_first_ones_are_traced(tmp_path, monkeypatch, start, stop, expected):
    monkeypatch.setattr(profiling, "SKIP", 3)
    monkeypatch.setattr(profiling, "COUNT", 4)
    state = train(tmp_path, start=start, stop=stop, profile=tmp_path / "profile")
    assert traced_steps(tmp_path / "profile") == expected
    want = train(tmp_path, start=start, stop=stop)
    jax.tree.map(np.testing.assert_array_equal, state, want)


def test_without_a_folder_the_step_is_not_wrapped():
    step = step_of(loss_fn)
    with profiled(step, None, start=0, steps=3) as same:
        assert same is step


def test_a_batch_is_on_the_device_before_the_step_before_it_is_awaited(tmp_path, monkeypatch):
    """Double buffering: put 2 comes after step 1 was started, and before its metrics are read."""
    seen, put, get = [], loop.put_batch, jax.device_get
    monkeypatch.setattr(loop, "put_batch", lambda *a: (seen.append("put"), put(*a))[1])
    monkeypatch.setattr(jax, "device_get", lambda *a: (seen.append("await"), get(*a))[1])
    real = step_of(loss_fn)

    def step(state, batch):
        seen.append("step")
        return real(state, batch)

    mesh = data_mesh(1)
    with MetricLog(tmp_path, step=0) as log:
        loop.fit(fresh(mesh), step, batches_from(0), steps=4, steps_per_epoch=5, mesh=mesh, log=log)
    assert seen == [
        *("put", "step", "put", "step", "put", "await"),
        *("step", "put", "await", "step", "await", "await"),
    ]


def test_a_training_transfers_nothing_but_its_batches(tmp_path):
    """Implicit transfers, as of an array of the host that a step would take each time, fail."""
    with (
        jax.transfer_guard_host_to_device("disallow_explicit"),
        pytest.raises(Exception, match="di"),
    ):
        put_batch({"x": DATA["x"][:BATCH]}, data_mesh(1))
    moved = []
    real = loop.put_batch

    def counted(batch, mesh):
        moved.append(sum(field.nbytes for field in batch.values()))
        with jax.transfer_guard_host_to_device("allow"):
            return real(batch, mesh)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "put_batch", counted)
        mesh = data_mesh(1)
        state, step = fresh(mesh), step_of(loss_fn)
        with MetricLog(tmp_path, step=0) as log, jax.transfer_guard_host_to_device("disallow"):
            loop.fit(
                state, step, batches_from(0), steps=STEPS, steps_per_epoch=5, mesh=mesh, log=log
            )
    assert moved == [BATCH * 4 * 4] * STEPS  # float32, three numbers and a target of each item


def test_a_compiled_step_writes_its_state_into_the_memory_of_the_former_one():
    mesh = data_mesh(1)
    state, batch = fresh(mesh), put_batch(next(batches_from(0)), mesh)
    compiled = step_of(loss_fn).lower(state, batch).compile()
    leaves = jax.tree.leaves(state)
    head = compiled.as_text().partition("\n")[0]
    assert head.count("may-alias") + head.count("must-alias") == len(leaves)
    assert compiled.memory_analysis().alias_size_in_bytes >= sum(leaf.nbytes for leaf in leaves)
    new, _ = step_of(loss_fn)(state, batch)
    assert all(leaf.is_deleted() for leaf in leaves)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((new, batch)))
