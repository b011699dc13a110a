"""The one sequence of an evaluation: search, nodules, order within a class, intervals."""

import numpy as np

from inres.evaluation import nodules, property_tables, protocol, runs, within_class
from inres.evaluation.assessment import Assessment
from inres.evaluation.confidence import confidence
from inres.evaluation.embedded import Embedded
from inres.evaluation.settings import Settings


def assess(
    queries: Embedded,
    gallery: Embedded,
    settings: Settings,
    *,
    class_names: tuple[str, ...],
    names: np.ndarray,
    patients: np.ndarray,
) -> Assessment:
    """Evaluate the search of `gallery` for `queries` in every way.

    Args:
      queries: test items, with all codes that are to be compared.
      gallery: the archive, likewise.
      settings: what is searched, and how.
      class_names: of the classes, by label.
      names: str [Q], all different, the same in every run on the same data.
      patients: str [Q], the patient of each query, or its scan; empty where unknown. Intervals
        resample patients.

    Raises:
      ValueError: as `protocol.evaluate`.
    """
    found = protocol.evaluate(queries, gallery, settings)
    tops = within_class.top_of_class(queries, gallery, settings)
    matched = within_class.matched_slices(queries, settings)
    run = query_run(found, queries, names=names, patients=patients)
    by_nodule = nodules.evaluate(queries, gallery, settings)
    nodule_run = None
    if by_nodule is not None:
        nodule_run = nodules.query_run(by_nodule, queries, names=names, patients=patients)
    return Assessment(
        queries=queries,
        gallery=gallery,
        class_names=class_names,
        evaluation=found,
        intervals=confidence(found, queries.labels, patients),
        run=run.extended(within_class.per_query(tops, matched)),
        within_class=within_class.compared(tops, matched, patients),
        properties=property_tables.property_rows(run),
        similarity=property_tables.similarity_rows(run),
        by_nodule=[] if nodule_run is None else nodules.table_rows(nodule_run),
        nodule_counts=None if by_nodule is None else by_nodule.counts,
        nodule_run=nodule_run,
        nodule_properties=[] if nodule_run is None else property_tables.property_rows(nodule_run),
        nodule_similarity=[] if nodule_run is None else property_tables.similarity_rows(nodule_run),
        mixed_nodule=""
        if by_nodule is not None
        else nodules.mixed_nodule(queries) or nodules.mixed_nodule(gallery),
    )


def query_run(
    found: protocol.Evaluation, queries: Embedded, *, names: np.ndarray, patients: np.ndarray
) -> runs.Run:
    """The scores of a search for single items, query by query."""
    return runs.Run(names, patients, queries.labels, found.per_query)
