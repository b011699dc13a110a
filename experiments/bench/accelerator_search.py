"""Searches for the accelerator benchmark: by Hamming distance alone, and in two stages."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.bench import compiled, device_items, gpu_rivals
from experiments.bench.accelerator_case import Case, Rival
from experiments.bench.compiled import Cost
from experiments.bench.retrieval_case import threshold_for
from inres.retrieval import codes as codes_lib
from inres.retrieval import jitted, padding, plans
from inres.retrieval.device_index import DeviceIndex
from inres.retrieval.queries import Queries
from inres.system import memory

CHECKED = 2
"""Queries whose answers are compared with NumPy's."""


def free_bytes() -> int | None:
    """Memory that is left on the device; None where unknown."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"]) - int(stats["bytes_in_use"])
    return memory.available_bytes()


def _fitting(config: ConfigDict, part: str, dims: int, messages: list[str]) -> Iterator[int]:
    """The sizes that fit in the memory that is left when each is its turn."""
    for count in config.sizes:
        need, free = count * device_items.bytes_per_item(config.bits, dims), free_bytes()
        if free is None or need <= free:
            yield count
        else:
            messages.append(
                f"{part}, {count} items: {need / 1e9:.3g} GB of memory are needed, "
                f"{free / 1e9:.3g} are available"
            )


def _batch_sizes(config: ConfigDict, part: str, items: int, messages: list[str]) -> list[int]:
    """The numbers of queries that do not compare more codes than the config allows."""
    most = config.most_distances // items
    messages += [
        f"{part}, {items} items, {q} queries: more than config.most_distances = "
        f"{config.most_distances:.3g} distances"
        for q in config.queries
        if q > most
    ]
    return [q for q in config.queries if q <= most]


def coarse_cases(config: ConfigDict, messages: list[str]) -> Iterator[Case]:
    """The k nearest codes, for every number of items and queries."""
    for count in _fitting(config, "coarse", 0, messages):
        yield from _coarse_of(config, count, messages)


def _coarse_of(config: ConfigDict, count: int, messages: list[str]) -> Iterator[Case]:
    rng = np.random.default_rng(config.seed)
    k = config.k
    index = device_items.random_index(count, bits=config.bits, dims=0, seed=config.seed)
    codes = device_items.host_codes(index)
    rivals, reasons = gpu_rivals.build(codes, config.bits)
    messages += [reason for reason in reasons if reason not in messages]
    for q in _batch_sizes(config, "coarse", count, messages):
        queries = _random_codes(rng, q, config.bits)
        batches = jax.device_put([*padding.batches(padding.padded(Queries(queries)))])
        program, cost = compiled.compiled(
            functools.partial(plans.nearest.trace, index, batches[0], k=k)
        )

        def queue(program: Any = program, batches: Any = batches) -> Any:
            return [program(index, batch) for batch in batches]

        ids, near, _ = (np.concatenate(column)[:q] for column in zip(*queue(), strict=True))
        for row, query in enumerate(queries[:CHECKED]):
            distance = device_items.distances(codes, query)
            expected = device_items.nearest(distance, k)
            _require_equal(ids[row, : len(expected)], expected, f"ids, {count} items")
            _require_equal(near[row, : len(expected)], distance[expected], "Hamming distances")
        yield Case(
            part="coarse",
            name=_name(count, q),
            amount=q,
            ours=Rival(queue, compile_s=cost.compile_s, dtype="uint32"),
            cost=cost * len(batches),
            rivals={
                rival.name: Rival(call, lambda value: value, dtype="uint32")
                for rival in rivals
                if (call := rival.verified(queries, k, near, messages)) is not None
            },
            least_bytes=codes.nbytes,
            checked="NumPy",
        )


def two_stage_cases(config: ConfigDict, messages: list[str]) -> Iterator[Case]:
    """Both stages, for every number of items, queries and size of the pool."""
    for count in _fitting(config, "two stages", config.dims, messages):
        yield from _two_stages_of(config, count, messages)


def _two_stages_of(config: ConfigDict, count: int, messages: list[str]) -> Iterator[Case]:
    rng = np.random.default_rng(config.seed)
    index = device_items.random_index(count, bits=config.bits, dims=config.dims, seed=config.seed)
    codes = device_items.host_codes(index)
    for q in _batch_sizes(config, "two stages", count, messages):
        for pool in config.pools:
            packed = _random_codes(rng, q, config.bits)
            limit = threshold_for(pool, codes, packed, config.bits)
            features = rng.standard_normal((q, config.dims), dtype=np.float32)
            queries = Queries(packed, features, np.full(q, limit, np.int32))
            costs = _two_stage_costs(index, queries, k=config.k)
            sizes = _check_two_stages(index, codes, queries, k=config.k)
            cost = _total(costs, sizes)

            def search(queries: Queries = queries) -> Any:
                return jitted.search(index, queries, k=config.k, min_pool=0)

            yield Case(
                part="two stages",
                name=f"{_name(count, q)}, pool {np.median(sizes):.0f}",
                amount=q,
                ours=Rival(search, lambda value: value, cost.compile_s, "uint32"),
                cost=cost,
                least_bytes=codes.nbytes,
                checked="NumPy",
            )


def _name(count: int, q: int) -> str:
    power = np.log10(count)
    items = f"1e{power:.0f}" if power == round(power) else str(count)
    return f"{items} items, {q} {'query' if q == 1 else 'queries'}"


def _random_codes(rng: np.random.Generator, q: int, bits: int) -> np.ndarray:
    return codes_lib.pack(rng.random((q, bits)) < 0.5)


def _require_equal(got: Any, expected: Any, what: str) -> None:
    if not np.array_equal(np.asarray(got), expected):
        raise RuntimeError(f"{what}: the device's differ from NumPy's, so nothing is timed")


def _check_two_stages(
    index: DeviceIndex, codes: np.ndarray, queries: Queries, *, k: int
) -> np.ndarray:
    """Compare the first queries with NumPy; returns the sizes of all pools, int32 [Q].

    Raises:
      RuntimeError: they differ.
    """
    ids, near, far, sizes, _ = jitted.search(index, queries, k=k, min_pool=0)
    assert queries.features is not None
    for row in range(min(CHECKED, len(ids))):
        distance = device_items.distances(codes, queries.codes[row])
        limit = int(queries.threshold[row])
        expected, square = device_items.in_pool(
            index, distance, queries.features[row], limit=limit, k=k
        )
        count = len(expected)
        _require_equal(sizes[row], np.count_nonzero(distance < limit), "pool sizes")
        _require_equal(near[row, :count], distance[ids[row, :count]], "Hamming distances")
        if not np.allclose(far[row, :count], square, rtol=1e-5):
            raise RuntimeError("Euclidean distances differ from NumPy's, so nothing is timed")
        # Items whose distances differ by rounding only may swap places.
        inner = max(count - 1, 0)
        _require_equal(np.sort(ids[row, :inner]), np.sort(expected[:inner]), "ids")
    return sizes


def _two_stage_costs(index: DeviceIndex, queries: Queries, *, k: int) -> dict[str, Cost]:
    """Costs of the programs that a search with these queries may run, by name.

    They must be compiled before the first search, which would compile them otherwise.
    """
    batch = next(padding.batches(padding.padded(queries)))
    made = {}
    for name, traced in plans.traced(index, batch, k=k).items():
        if name not in ("walk", "nearest", "rank given"):
            made[name] = compiled.compiled(functools.partial(_same, traced))[1]
    return made


def _same(traced: jax.stages.Traced) -> jax.stages.Traced:
    return traced


def _total(costs: dict[str, Cost], sizes: np.ndarray) -> Cost:
    """Costs of a search with pools of these sizes: the scan, the counts, and compiling all of it.

    What the ranking reads is not part of it, because XLA counts all features where some are
    gathered.
    """
    batches = -(-len(sizes) // padding.QUERIES)
    ranking = dataclasses.replace(costs[_ranking(sizes[: padding.QUERIES])], flops=0.0, bytes=0.0)
    return (costs["scan"] + costs["count"] + ranking) * batches


def _ranking(sizes: np.ndarray) -> str:
    """The program that ranks pools of these sizes, as `plans` chooses it."""
    tiers = plans.TOGETHER_ONE if len(sizes) == 1 else plans.TOGETHER_MANY
    for name, (slots, width) in zip(("together", "together, many"), tiers, strict=True):
        if sizes.sum() <= slots and sizes.max() <= width:
            return name
    return "alone"
