"""All results of an evaluation: search, similarity, whole nodules, order within a class."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from inres.evaluation import runs
from inres.evaluation.embedded import Embedded
from inres.evaluation.protocol import Evaluation


@dataclasses.dataclass(frozen=True)
class Assessment:
    """Results of `inres.pipeline.assess.assess`, with what they are about."""

    queries: Embedded
    gallery: Embedded
    class_names: Sequence[str]
    evaluation: Evaluation
    """The search for single items."""
    intervals: Mapping[str, Any]
    """From `confidence.confidence`."""
    run: runs.Run
    """All scores query by query, including those within the query's class."""
    within_class: list[dict[str, Any]]
    """Rows of `within_class.compared`."""
    properties: list[dict[str, Any]]
    """Rows of `property_tables.property_rows`; empty if no property is known."""
    similarity: list[dict[str, Any]]
    """Rows of `property_tables.similarity_rows`, likewise."""
    by_nodule: list[dict[str, Any]]
    """Rows of `nodules.table_rows`; empty if a nodule is not a unit of retrieval."""
    nodule_counts: Mapping[str, Any] | None
    """`NoduleEvaluation.counts`; None without a search for nodules."""
    nodule_run: runs.Run | None
    """The search for nodules, query by query."""
    nodule_properties: list[dict[str, Any]]
    """As `properties`, of the search for nodules."""
    nodule_similarity: list[dict[str, Any]]
    """As `similarity`, of the search for nodules."""
    mixed_nodule: str
    """The first nodule whose slices differ in class, which rules out the search for nodules."""
