"""Every jitted program, lowered for GPUs and TPUs, which need not be there for it."""

import collections
import functools
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import jax
import jitted_programs
import numpy as np
import pytest
import quick
from jitted_programs import PROGRAMS, found_programs, jitted_in

from inres.data import batches
from inres.encoding import encoder
from inres.learning import loop
from inres.learning.devices import data_mesh, replicated
from inres.learning.logs import MetricLog
from inres.retrieval import index, plans, search

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_programs")]

PLATFORMS = ("cuda", "tpu")
CALLS = {"cu_threefry2x32_ffi"}
"""Calls of code outside of StableHLO that are allowed: of JAX's random numbers on GPUs."""
COLLECTIVES = re.compile(
    r" (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
)


def test_every_jitted_function_is_lowered_here():
    assert found_programs() == PROGRAMS.keys()


def test_jitted_functions_are_found_however_they_are_written():
    source = """
@jax.jit
def a(): ...
@functools.partial(jax.jit, static_argnames=("k",))
def b():
    def inner():
        return jax.jit(lambda x: x)
class C:
    def method(self):
        self.step = jax.jit(self.run)
    @jax.jit
    def run(self): ...
made = jax.jit(a)
"""
    assert jitted_in(source) == {"a", "b", "method", "run", ""}


def problems(text, *, full=True):
    """What a lowered program holds that it must not.

    Args:
      full: products of float32 must request full precision; GPUs multiply with 10 bits by default,
        and TPUs with 8.
    """
    found = sorted(set(re.findall(r"custom_call @([\w.$]+)", text)) - CALLS)
    if re.search(r"tensor<[\dx]*f64>|\bf64\b", text):
        found.append("f64")
    if "callback" in text:
        found.append("callback")
    products = re.findall(r"stablehlo\.(?:dot_general|convolution)\b.*", text)
    if full and [line for line in products if "f32" in line and "HIGHEST, HIGHEST" not in line]:
        found.append("product without full precision")
    return found


@functools.cache
def lowered(program):
    """The texts of the programs of a jitted function, lowered for GPUs and TPUs at once."""
    return {
        name: traced.lower(lowering_platforms=PLATFORMS).as_text()
        for name, traced in PROGRAMS[program]().items()
    }


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_needs_neither_the_host_nor_float64(program):
    """Nor less than float32, where exactness depends on it or convolutions alone are bfloat16."""
    for name, text in lowered(program).items():
        full = program.startswith("inres/retrieval/") or name == "views"
        assert problems(text, full=full) == [], name


def test_what_a_program_must_not_hold_is_seen():
    def text(function, dtype=np.float32):
        return jax.jit(function).lower(np.ones((3, 3), dtype)).as_text()

    def calls_the_host(x):
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    assert {"callback"} < {*problems(text(calls_the_host))}
    with jax.enable_x64(True):
        assert problems(text(lambda x: x * 2, np.float64)) == ["f64"]
    assert problems(text(lambda x: x @ x)) == ["product without full precision"]
    assert problems(text(lambda x: x @ x), full=False) == []
    assert problems(text(lambda x: jax.numpy.matmul(x, x, precision="highest"))) == []


def test_searches_have_products_to_be_computed_in_full_precision():
    texts = lowered("inres/retrieval/plans.py:_walked").values()
    assert all("dot_general" in text for text in texts)
    assert lowered("inres/learning/step.py:make_train_step")["views"].count("f32") > 100


@pytest.mark.parametrize("pool", ["least pool", "nearest"])
def test_a_sharded_search_gathers_the_best_of_every_part_and_adds_pool_sizes(pool):
    """Two columns of the nearest codes, then the three of a ranking."""
    traced = PROGRAMS["inres/retrieval/sharded.py:search_padded"]()[pool]
    text = traced.lower(lowering_platforms=("tpu",)).as_text()
    found = collections.Counter(re.findall(r'"stablehlo\.(all_\w+|collective_\w+)"', text))
    assert found == {"all_gather": 5, "all_reduce": 1}


# --- collectives and compilations -----------------------------------------------------------------


def exchanged(text):
    """The collectives of a compiled program: (kind, number of elements)."""
    found = []
    for line in text.splitlines():
        if match := COLLECTIVES.search(line):
            shapes = re.findall(r"\w+\[([\d,]*)\]", line[: match.start()])
            sizes = [math.prod(int(n) for n in shape.split(",") if n) for shape in shapes]
            found.append((match[1], sum(sizes)))
    return found


def main():
    """Print what training steps exchange between four devices, their parameters and norms."""
    with quick.compilation():
        steps = {
            "plain": jitted_programs.training_step("plain", devices=4),
            "unet": jitted_programs.unet_step(devices=4),
        }
        found = {}
        for name, (step, (state, batch)) in steps.items():
            moved = exchanged(step.lower(state, batch).compile().as_text())
            parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params))
            found[name] = moved, parameters, len(jax.tree.leaves(state.batch_stats)) // 2
    print(json.dumps(found))


@pytest.fixture(scope="module")
def on_four_devices():
    """What `main` prints in a process with four CPU devices."""
    done = subprocess.run(
        [sys.executable, __file__],
        env={
            **quick.environment("--xla_force_host_platform_device_count=4"),
            "PYTHONPATH": f"{jitted_programs.ROOT}:{Path(__file__).parent}",
            "JAX_PLATFORMS": "cpu",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("name", "gathered"), [("plain", 6), ("unet", 0)])
def test_a_training_step_exchanges_sums_and_what_a_loss_of_pairs_reads(
    on_four_devices, name, gathered
):
    """Sums for each norm, forward and backward, and the gradients, which are sent together.

    The loss of FC1 compares all pairs of a batch, so the devices gather FC1, its squares, labels,
    diameters, which of these are known, and items, but neither images nor feature maps.
    """
    moved, parameters, norms = on_four_devices[name]
    sums = [size for kind, size in moved if kind == "all-reduce"]
    columns = [size for kind, size in moved if kind == "all-gather"]
    assert len(sums) + len(columns) == len(moved)
    assert len(columns) == gathered
    assert sum(columns) <= jitted_programs.BATCH * (16 + 5)
    assert len(sums) <= 2 * norms + 4
    assert parameters <= sum(sums) <= 1.1 * parameters


@pytest.fixture
def compilations():
    """How many programs were compiled, or read from the cache of compiled ones, so far."""
    seen = []

    def listen(event, seconds, **details):
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(details.get("fun_name"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield lambda: len(seen)
    jax.monitoring.unregister_event_duration_listener(listen)


def test_a_training_compiles_its_step_once(tmp_path, compilations):
    step, (state, batch) = jitted_programs.training_step("plain")
    mesh, rng = data_mesh(1), np.random.default_rng(0)
    state = jax.device_put(
        jax.tree.map(lambda x: np.ones(x.shape, x.dtype) / 8, state), replicated(mesh)
    )
    state = state.replace(step=jax.device_put(np.int32(0), replicated(mesh)))
    arrays = {
        name: rng.integers(0, 2, (24, *x.shape[1:])).astype(x.dtype) for name, x in batch.items()
    }
    source = batches.batches(
        arrays, weights=np.full(24, 1 / 24), batch=jitted_programs.BATCH, seed=0, start=0, steps=9
    )
    counts = [compilations()]

    def counted(state, batch):
        done = step(state, batch)
        counts.append(compilations())
        return done

    with MetricLog(tmp_path, step=0) as log:
        loop.fit(state, counted, source, steps=9, steps_per_epoch=3, mesh=mesh, log=log)
    counts.append(compilations())
    assert counts[1] > counts[0]
    assert {*counts[1:]} == {counts[1]}


def test_encoding_and_searching_compile_nothing_after_their_first_use(compilations):
    _, shapes = jitted_programs.network("plain")
    model, _ = jitted_programs.network("plain")
    variables = jax.tree.map(lambda x: np.ones(x.shape, x.dtype) / 8, shapes)
    encode = encoder.make_encoder(model, variables, batch=4)
    device = jitted_programs.on_device(1500)
    packed, features, groups, labels = jitted_programs.items(1500)
    built = index.build(packed, features, bits=jitted_programs.BITS, groups=groups, labels=labels)
    plans.warm(device, k=5, queries=4, exclude_group=True, only_label=True)

    def use(seed, count):
        rng = np.random.default_rng(seed)
        encode(rng.integers(0, 256, (3 + count, 16, 16, 1), np.uint8))
        rows = rng.integers(0, 1500, count)
        search.search(
            built, packed[rows], features[rows], k=5, threshold=int(rng.integers(2, 40)),
            exclude_group=groups[rows], only_label=labels[rows], engine="jax",
        )  # fmt: skip

    use(0, 4)
    before = compilations()
    assert before
    for seed, count in enumerate((3, 2, 4, 3, 2), start=1):
        use(seed, count)
    assert compilations() == before


if __name__ == "__main__":
    main()
