"""Scores of every ranking: queries in parts of bounded memory, each part on all cores."""

import dataclasses
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from inres.evaluation import judging, metrics, pools, similarity
from inres.evaluation.distances import Distances, Part
from inres.evaluation.embedded import Embedded
from inres.evaluation.groups import Exclusion
from inres.evaluation.settings import Settings
from inres.system.together import in_turn, sharers

_CELLS = 1 << 23
"""Number of distances [q, N] held at once."""


@dataclasses.dataclass(frozen=True)
class Scored:
    """Results of one ranking for q queries. What only some rankings have is None for the others."""

    scores: Mapping[str, np.ndarray]
    """[q] by column."""
    curves: Mapping[str, np.ndarray]
    """Sums of curves, [parts, classes, G], by suffix in `judging.TIE_ORDERS`."""
    lookup: pools.Lookup | None
    """Present for rankings by codes."""
    returned: pools.Returned | None
    """Present for the two-stage search."""
    neighbours_kept: np.ndarray | None
    """float64 [q, bits + 1], for the fine feature: share of the nearest items in pools."""
    class_hamming: np.ndarray | None
    """float64 [q, classes], for the Hamming distance."""


def score_rankings(
    queries: Embedded,
    gallery: Embedded,
    distances: Distances,
    compared: similarity.Compared,
    settings: Settings,
) -> dict[str, Scored]:
    """Score every ranking of every query; the queries in parts, each part on all cores.

    Inside `together` the processes share the parts.
    """
    exclusion = Exclusion.of(queries, gallery, own_group=settings.own_group)
    ours, theirs = judging.shared_columns(queries, gallery)

    def score(rows: slice) -> dict[str, list[Scored]]:
        part = distances.part(rows, exclusion.rows(rows))
        # Each thread takes a few rows at a time, so that it holds little memory.
        cuts = list(metrics.chunks(*part.excluded.shape))
        spread = threads.map if len(cuts) > 1 else map
        mine = {name: column[rows] for name, column in ours.items()}
        truths = list(spread(functools.partial(_truth, mine, theirs, part, settings.k), cuts))
        want = functools.partial(_wanted, compared, part, settings.k)
        wanted = list(spread(want, cuts, truths))
        found: dict[str, list[Scored]] = {}
        waiting: tuple[str, Iterator[Scored]] | None = None
        for name, far in distances.each(part):
            cut = functools.partial(_score_cut, name, far, part, distances.bits, settings)
            # One ranking is scored while the distances of the next are computed.
            scored = spread(cut, cuts, truths, wanted)
            if waiting is not None:
                found[waiting[0]] = list(waiting[1])
            waiting = name, scored
        assert waiting is not None
        found[waiting[0]] = list(waiting[1])
        return found

    cells = min(_CELLS, -(-len(queries) // sharers()) * len(gallery))  # a part for each process
    parts: dict[str, list[Scored]] = {}
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for found in in_turn(score, metrics.chunks(len(queries), len(gallery), cells=cells)):
            for name, scored in found.items():
                parts.setdefault(name, []).extend(scored)
    return {name: _joined(found) for name, found in parts.items()}


def _truth(
    queries: Mapping[str, np.ndarray],
    gallery: Mapping[str, np.ndarray],
    part: Part,
    k: int,
    cut: slice,
) -> judging.Truth:
    """The truth about the rows `cut` of a part."""
    mine = {name: column[cut] for name, column in queries.items()}
    return judging.Truth.of(mine, gallery, part.excluded[cut], k)


def _wanted(
    compared: similarity.Compared, part: Part, k: int, cut: slice, truth: judging.Truth
) -> similarity.Wanted:
    """The properties that the rows `cut` of a part look for."""
    rows = slice(part.rows.start + cut.start, part.rows.start + cut.stop)
    return compared.wanted(rows, excluded=truth.excluded, relevance=truth.relevance, k=k)


def _score_cut(
    name: str,
    distances: np.ndarray,
    part: Part,
    bits: Mapping[str, int],
    settings: Settings,
    cut: slice,
    truth: judging.Truth,
    wanted: similarity.Wanted,
) -> Scored:
    """Score the rows `cut` of one ranking by its distances [q, N]."""
    order = judging.Order.of(distances[cut], truth, settings.k)
    hamming, fine, k = part.hamming[cut], part.fine[cut], settings.k
    lookup, returned, kept, class_hamming = None, None, None, None
    if name in bits:
        lookup = pools.lookup(distances[cut], truth.relevance, truth.excluded, bits=bits[name])
    if name == "two_stage":
        returned = pools.returned(
            order, hamming, fine, truth.excluded, limits=part.limits[cut], k=k
        )
    if name == settings.fine:
        kept = pools.neighbours_kept(order.ranking, hamming, k, bits=bits["hamming"])
    if name == "hamming":
        labels = truth.gallery["labels"]
        class_hamming = pools.class_hamming(hamming, truth.excluded, labels, settings.classes)
    return Scored(
        scores=judging.scores(order, truth, k) | similarity.scores(name, order.top, wanted),
        curves=judging.curve_sums(order, truth.queries["labels"], settings.classes),
        lookup=lookup,
        returned=returned,
        neighbours_kept=kept,
        class_hamming=class_hamming,
    )


def _joined(parts: Sequence[Any]) -> Any:
    """Concatenate the arrays in mappings and dataclasses of one structure; None stays None."""
    first = parts[0]
    if first is None:
        return None
    if isinstance(first, np.ndarray):
        return np.concatenate(parts)
    if isinstance(first, Mapping):
        return {key: _joined([part[key] for part in parts]) for key in first}
    fields = [field.name for field in dataclasses.fields(first)]
    return type(first)(**{n: _joined([getattr(part, n) for part in parts]) for n in fields})
