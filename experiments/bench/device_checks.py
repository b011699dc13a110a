"""Checks of the default device: exact searches, and what the compiled programs do.

Each check takes `small` (little data) and returns a result for a JSON file; it raises an error if
the device or a program does something wrong. `accelerator_check` runs all of them.
"""

import functools
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.bench import accelerator, compiled, device_items, training
from experiments.bench.accelerator_networks import random_batch, with_precision
from inres.config import Config, Hash, Items, Loss, Model, Train
from inres.retrieval import checks, codes, index, padding, plans, search
from inres.retrieval.index import Index

CLASSES = 8
STEPS = 10


class Wrong(RuntimeError):
    """A check failed."""


def require(holds: Any, message: str) -> None:
    """Raise `Wrong` unless a condition holds."""
    if not holds:
        raise Wrong(message)


def experiment(*, small: bool) -> Config:
    """The light network with a plain loss, or a tiny one."""
    plain = Loss(name="nll", fine=0.0)
    if not small:
        return training.bare(Config(loss=plain, train=Train(batch=64)))
    return training.bare(
        Config(
            items=Items(size_px=16), model=Model(stem=8, fc1=12), hash=Hash(bits=6), loss=plain,
            train=Train(batch=8),
        )
    )  # fmt: skip


@functools.cache
def _step(precision: str, *, small: bool) -> tuple[training.Ours, str, jax.stages.Compiled]:
    """A network, and its training step as lowered (StableHLO) and as compiled."""
    config = with_precision(experiment(small=small), precision)
    images, labels = random_batch(config, classes=CLASSES, seed=1)
    ours = training.Ours(config, images, labels, classes=CLASSES, steps=1000, warm=False)
    lowered = ours.trace().lower()
    return ours, lowered.as_text(), lowered.compile()


def environment(*, small: bool) -> dict[str, Any]:
    """Chip, versions and memory, after a program has run."""
    total = float(jax.jit(lambda x: x.sum())(np.arange(8.0)))
    require(total == 28, f"the sum of 0 ... 7 is {total} on this device")
    stats = jax.local_devices()[0].memory_stats() or {}
    return {**accelerator.environment(), "memory_bytes": stats.get("bytes_limit")}


def _items(kind: str, *, small: bool) -> tuple[Index, np.ndarray, np.ndarray, np.ndarray]:
    """An index of one kind, its codes, features and groups.

    Features are integers with a common offset, so that distances are exact in float32 only if they
    are computed as differences and at full precision.
    """
    rng = np.random.default_rng(7)
    n = 3000 if small else 300_000
    bits, distinct = {"64 bits": (64, n), "256 bits": (256, n), "shared codes": (48, n // 50)}[kind]
    middle = rng.random((20, bits)) < 0.5
    flips = rng.random((distinct, bits)) < 0.1
    packed = codes.pack(middle[rng.integers(0, 20, distinct)] ^ flips)
    packed = packed[rng.integers(0, distinct, n)]
    features = (1000 + rng.integers(-4, 5, (n, 16))).astype(np.float32)
    groups = rng.integers(-1, 5, n).astype(np.int32)
    return index.build(packed, features, bits=bits, groups=groups), packed, features, groups


def exact_search(*, small: bool) -> dict[str, Any]:
    """Both stages and the coarse stage against NumPy, with ties and filters."""
    compared = 0
    kinds: tuple[str, ...] = ("64 bits", "256 bits", "shared codes")
    lengths: tuple[int, ...] = (1, 100, 1500)
    pools: tuple[dict[str, int], ...] = (
        {"threshold": 0}, {"threshold": 1 << 10}, {"nearest": 200}, {"threshold": 1, "min_pool": 50}
    )  # fmt: skip
    if small:
        kinds, lengths, pools = kinds[2:], (50,), pools[:1]
    for kind in kinds:
        built, packed, features, groups = _items(kind, small=small)
        ask, wide = packed[:5], features[1:6]
        excluded = np.array([-1, 0, 1, 2, 3], np.int32)
        far = [device_items.distances(packed, query).astype(np.int32) for query in ask]
        for distance, group in zip(far, excluded, strict=True):
            distance[(groups == group) & (group >= 0)] = 1 << 14  # hidden
        for k in lengths:
            ids, near = search.search_hamming(built, ask, k=k, exclude_group=excluded, engine="jax")
            for row, distance in enumerate(far):
                expected = device_items.nearest(distance, k)
                what = f"{kind}, the {k} nearest codes of query {row}"
                require(np.array_equal(ids[row, : len(expected)], expected), f"{what}: ids")
                require(np.array_equal(near[row, : len(expected)], distance[expected]), what)
                compared += 1
        near_pool = int(np.median([np.sort(distance)[30] for distance in far]))
        for given in pools:
            pool: dict[str, Any] = given if any(given.values()) else {"threshold": near_pool}
            found = search.search(
                built, ask, wide, k=20, exclude_group=excluded, engine="jax", **pool
            )
            for row, distance in enumerate(far):
                pooled = _pool(distance, **pool)
                square = ((features[pooled].astype(np.float64) - wide[row]) ** 2).sum(axis=1)
                order = np.lexsort((pooled, square))[:20]
                what = f"{kind}, two stages with {pool}, query {row}"
                require(found.pool_size[row] == len(pooled), f"{what}: size of the pool")
                require(np.array_equal(found.ids[row, : len(order)], pooled[order]), what)
                compared += 1
    return {"queries_compared": compared}


def _pool(
    distance: np.ndarray, *, threshold: int = 0, nearest: int = 0, min_pool: int = 0
) -> np.ndarray:
    """Positions of a pool, ascending, by NumPy; hidden items are at distance 2^14."""
    if nearest:
        return np.sort(device_items.nearest(distance, nearest))
    if min_pool:
        last = device_items.nearest(distance, min_pool)[-1]
        threshold = max(threshold, int(distance[last]) + 1)
    return np.flatnonzero(distance < min(threshold, 1 << 14))


def lowered_search(*, small: bool) -> dict[str, Any]:
    """Every program of the search: full precision, no float64, no calls of the host; what it sorts.

    Also what the compiled program of the nearest codes reads, relative to the codes.
    """
    result: dict[str, dict[str, Any]] = {}
    built = _items("64 bits", small=small)[0].on_device
    for q in (64,) if small else (1, 64):
        queries = padding.padded(
            checks.queries(
                np.zeros((q, 2), np.uint32), np.zeros((q, 16), np.float32), bits=64, dims=16, k=100,
                threshold=3,
            )
        )  # fmt: skip
        for name, traced in plans.traced(built, queries, k=100).items():
            text = traced.lower().as_text()
            faults = faults_of(text)
            require(not faults, f"{name}, {q} queries: {faults}")
            result[f"{name}, {q}"] = {"sorted": sorted_lengths(text)}
        program, cost = compiled.compiled(
            functools.partial(plans.nearest.trace, built, queries, k=100)
        )
        text = program.as_text() or ""
        result[f"nearest, {q}"] |= {
            "bytes": cost.bytes,
            "bytes_of_codes": 8 * built.capacity,
            "kernels": len(re.findall(r"fusion\(", text)),
            "compiled_sorts": re.findall(r"= \(?([a-z0-9]+\[[0-9,]*\])[^=\n]* sort\(", text),
        }
    return result


def faults_of(text: str) -> list[str]:
    """What a lowered program (StableHLO) of the search must not do, but does."""
    faults = []
    if re.search(r"tensor<(?:[0-9x]*x)?f64>", text):
        faults.append("float64")
    if "callback" in text:
        faults.append("a call of the host")
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    if any("HIGHEST" not in line for line in products):
        faults.append("a product of matrices that is not at the highest precision")
    return faults


def sorted_lengths(text: str) -> list[int]:
    """Lengths of the rows that a lowered program (StableHLO) sorts or takes the largest of."""
    sorts = re.findall(r'stablehlo\.sort".*?\}\) : \(tensor<([0-9x]+)x', text, re.DOTALL)
    largest = re.findall(r"chlo\.top_k\([^)]*\) : tensor<([0-9x]+)x", text)
    return [int(shape.split("x")[-1]) for shape in sorts + largest]


def no_recompilation(*, small: bool) -> dict[str, Any]:
    """After `plans.warm`, searches with other pools, thresholds and queries compile nothing."""
    built, packed, features, _ = _items("64 bits", small=small)
    plans.warm(built.on_device, k=10, queries=4, exclude_group=True, min_pool=20)
    before = plans.programs()
    for threshold, q in ((0, 3), (8, 4), (30, 2), (65, 4)):
        excluded = np.full(q, 1, np.int32)
        search.search(
            built, packed[:q], features[:q], k=10, threshold=threshold, min_pool=20,
            exclude_group=excluded, engine="jax",
        )  # fmt: skip
    require(plans.programs() == before, f"{plans.programs() - before} programs were compiled")
    return {"programs": before}


def donation(*, small: bool) -> dict[str, Any]:
    """A training step overwrites the state that it is given."""
    ours, _, step = _step("float32", small=small)
    state = ours.fresh()
    before = jax.tree.leaves(state)
    held = sum(leaf.nbytes for leaf in before)
    memory: Any = step.memory_analysis()
    aliased = int(memory.alias_size_in_bytes) if memory is not None else 0
    jax.block_until_ready(step(state, ours.on_device))
    kept = sum(not leaf.is_deleted() for leaf in before)
    require(aliased >= held, f"{aliased} of {held} bytes of the state are overwritten")
    require(kept == 0, f"{kept} of {len(before)} arrays of the state were not overwritten")
    return {"state_bytes": held, "aliased_bytes": aliased}


def no_transfers(*, small: bool) -> dict[str, Any]:
    """A training step whose batch is on the device copies nothing from or to the host."""
    ours, _, step = _step("float32", small=small)
    state, _ = step(ours.fresh(), ours.on_device)
    with jax.transfer_guard("disallow"):
        for _ in range(STEPS):
            state, metrics = step(state, ours.on_device)
        jax.block_until_ready((state, metrics))
    return {"steps": STEPS}


def precision(*, small: bool) -> dict[str, Any]:
    """Training in bfloat16 follows that in float32; losses of the first steps."""
    losses, bfloat16 = {}, {}
    for kind in ("float32", "bfloat16"):
        ours, text, step = _step(kind, small=small)
        lines = [line for line in text.splitlines() if "stablehlo.convolution" in line]
        bfloat16[kind] = [sum("xbf16>" in line for line in lines), len(lines)]
        state, kept = ours.fresh(), []
        for _ in range(STEPS):
            state, metrics = step(state, ours.on_device)
            kept.append(float(metrics["loss"]))
        losses[kind] = kept
        require(np.isfinite(kept).all(), f"{kind}: losses are {kept}")
    require(bfloat16["float32"][0] == 0, "convolutions in bfloat16 with float32")
    require(bfloat16["bfloat16"][0] > 0, "no convolution in bfloat16 with bfloat16")
    same = np.allclose(losses["bfloat16"], losses["float32"], rtol=0.2, atol=0.05)
    require(same, f"the losses differ: {losses}")
    return {"losses": losses, "convolutions_in_bfloat16": bfloat16}


def profile(*, small: bool) -> dict[str, Any]:
    """The profiler records a training step."""
    ours, _, step = _step("float32", small=small)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(step(ours.fresh(), ours.on_device))
        sizes = [path.stat().st_size for path in Path(folder).rglob("*.xplane.pb")]
    require(any(sizes), "no profile was written")
    return {"bytes": sum(sizes)}


CHECKS: dict[str, Callable[..., dict[str, Any]]] = {
    "environment": environment,
    "exact search": exact_search,
    "lowered search": lowered_search,
    "no recompilation": no_recompilation,
    "donation": donation,
    "no transfers": no_transfers,
    "precision": precision,
    "profile": profile,
}
"""The checks by name, in their order."""
