"""Other methods of other programs, for context: most are approximate and reported with a recall.

- A flat index of faiss with an ID selector instead of a gather (exact).
- Approximate binary indexes of faiss for the Hamming distance.
- Approximate Euclidean search over all items: faiss RaBitQ and ScaNN. Ours is the two-stage search
  with a threshold that every item passes, which is exact.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import faiss
import numpy as np
from ml_collections import ConfigDict

from experiments.bench import timing
from experiments.bench.competitors.faiss_flat import FaissFlat
from experiments.bench.competitors.fine_stage import Ranked
from experiments.bench.competitors.interface import octets
from experiments.bench.questions import check_search
from experiments.bench.retrieval_case import Case
from inres.retrieval import search as search_lib

try:
    import scann
except ImportError:
    scann = None
BATCHES, REFINED = (1, 64), (4, 16)


def missing() -> list[str]:
    """Messages for methods that are not installed."""
    return [] if scann else ["ScaNN is left out; install it: pip install -e '.[bench]'"]


def count() -> int:
    """Number of rows for one set of items."""
    approximate = 2 + len(REFINED) * (2 if scann else 1)
    return len(BATCHES) * (1 + approximate)


def rows(config: ConfigDict, case: Case) -> Iterator[dict[str, Any]]:
    """All rows, each with the times `ours` and `other`, their `ratio` and the `recall`."""
    yield from selector_rows(config, case)
    yield from binary_rows(config, case)
    yield from euclidean_rows(config, case)


def selector_rows(config: ConfigDict, case: Case) -> Iterator[dict[str, Any]]:
    """Features in a flat index of faiss, searched with an ID selector."""
    flat = FaissFlat(case.codes, case.bits, threads=1)
    wide = faiss.IndexFlatL2(case.dims)
    wide.add(case.features)

    def search(codes: np.ndarray, features: np.ndarray, threshold: int) -> list[Ranked]:
        ranked = []
        for i, pool in enumerate(flat.pools(codes, threshold)):
            parameters: Any = faiss.SearchParameters
            selected = parameters(sel=faiss.IDSelectorBatch(pool))
            square, found = wide.search(features[i : i + 1], config.k, params=selected)
            inside = found[0] >= 0
            ranked.append(Ranked(square[0][inside], found[0][inside], len(pool)))
        return ranked

    for q in BATCHES:
        codes, limit = case.queries_for(0.01, q)
        features = case.query_features[:q]
        ours = functools.partial(
            search_lib.search, case.built, codes, features, threshold=limit, k=config.k
        )
        other = functools.partial(search, codes, features, limit)
        check_search(ours(), other())
        row = {"case": "two stages, pool of 1 %, faiss IndexFlatL2 with ID selector", "queries": q}
        yield row | compare(config, ours, other) | {"recall": 1.0}


def binary_rows(config: ConfigDict, case: Case) -> Iterator[dict[str, Any]]:
    """Approximate binary indexes of faiss."""
    items, queries = octets(case.codes, case.bits), octets(case.query_codes[:64], case.bits)
    width, k = 8 * items.shape[1], config.k
    exact = faiss.knn_hamming(queries, items, k)[0][:, -1:]
    ivf = faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(width), width, 256)
    ivf.nprobe = 16
    ivf.train(items)
    hnsw = faiss.IndexBinaryHNSW(width, 16)
    for name, index in (("IndexBinaryIVF, 16 of 256 lists", ivf), ("IndexBinaryHNSW, 16", hnsw)):
        index.add(items)
        # Recall by distance threshold, so that ties are fair.
        recall = float((index.search(queries, k)[0] <= exact).mean())
        for q in BATCHES:
            ours = functools.partial(
                search_lib.search_hamming, case.built, case.query_codes[:q], k=k
            )
            other = functools.partial(index.search, queries[:q], k)
            row = {"case": f"hamming top-k, faiss {name}", "queries": q}
            yield row | compare(config, ours, other) | {"recall": round(recall, 4)}


def euclidean_rows(config: ConfigDict, case: Case) -> Iterator[dict[str, Any]]:
    """Approximate Euclidean search over all items."""
    k, queries = config.k, case.query_features[:64]
    square, _ = faiss.knn(queries, case.features, k)
    for name, search in euclidean_methods(case.features, k):
        found = case.features[search(queries)]
        distance = ((found - queries[:, None]) ** 2).sum(axis=2)
        recall = float((distance <= square[:, -1:] * (1 + 1e-5)).mean())
        for q in BATCHES:
            ours = functools.partial(
                search_lib.search, case.built, case.query_codes[:q], queries[:q],
                threshold=case.bits + 1, k=k,
            )  # fmt: skip
            row = {"case": f"all items, {name}", "queries": q}
            times = compare(config, ours, functools.partial(search, queries[:q]))
            yield row | times | {"recall": round(recall, 4)}


def euclidean_methods(
    features: np.ndarray, k: int
) -> Iterator[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    """Names and functions that return ids [Q, k]."""
    rabitq = faiss.IndexRefineFlat(faiss.IndexRaBitQFastScan(features.shape[1]))
    rabitq.train(features)
    rabitq.add(features)
    for factor in REFINED:

        def refined(queries: np.ndarray, factor: int = factor) -> np.ndarray:
            rabitq.k_factor = factor
            return rabitq.search(queries, k)[1]

        yield f"faiss RaBitQ, {factor} k refined", refined
    if scann is None:
        return
    for factor in REFINED:
        builder = scann.scann_ops_pybind.builder(features, k, "squared_l2")
        scored = builder.score_ah(2, anisotropic_quantization_threshold=float("nan"))
        searcher = scored.reorder(factor * k).build()
        yield f"ScaNN, {factor} k refined", functools.partial(_scann, searcher)


def _scann(searcher: Any, queries: np.ndarray) -> np.ndarray:
    if len(queries) == 1:
        return searcher.search(queries[0])[0][None].astype(np.int64)
    return searcher.search_batched_parallel(queries)[0].astype(np.int64)


def compare(
    config: ConfigDict, ours: Callable[[], Any], other: Callable[[], Any]
) -> dict[str, Any]:
    """Times of both with all threads, and the other's divided by ours."""
    times = timing.interleaved(
        {"ours": ours, "other": other}, rounds=config.rounds, round_seconds=config.round_seconds
    )
    ratio = round(times["other"].median / times["ours"].median, 3)
    return {name: time.summary() for name, time in times.items()} | {"ratio": ratio}
