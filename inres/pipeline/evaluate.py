"""Stage `evaluation`: judge every ranking on the test items (paper, section 4.2)."""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inres.config import Config
from inres.data import item_store, items, leaks, properties, splits, views
from inres.data.properties import PropertyScale
from inres.encoding.binarize import to_bits
from inres.encoding.encoded import Encoded
from inres.encoding.representation import Representation
from inres.evaluation import baselines
from inres.evaluation.assessment import Assessment
from inres.evaluation.embedded import Embedded
from inres.evaluation.settings import Settings
from inres.pipeline import artifacts, assess, stages
from inres.pipeline.artifacts import Labelled
from inres.pipeline.inputs import stage_inputs
from inres.report import results
from inres.retrieval import codes
from inres.retrieval import search as search_lib
from inres.storage import store as storage
from inres.system import files
from inres.system.together import count, sharers, together

REPEATS = 5
"""Timings of each threshold; the median counts."""


def evaluate_run(config: Config, workdir: Path) -> None:
    """Write `<workdir>/evaluation` unless it is complete: metrics.json, curves, tables, figures.

    The judged ranking is computed from the embeddings in NumPy; the index must agree with it, and
    is timed. Codes of the baselines are fitted on training items.

    Raises:
      RuntimeError: the index disagrees with the evaluation.
      StageError: items were added to the archive or removed from it.
    """
    inputs = stage_inputs(config, "evaluation")
    inputs["upstream.index"] = stages.done(workdir, "index")
    stages.run_stage(workdir, "evaluation", inputs, lambda out: _evaluate(config, workdir, out))


def _evaluate(config: Config, workdir: Path, out: Path) -> None:
    table = artifacts.open_items(workdir)
    data = artifacts.labelled(table, workdir)
    images = views.own_slices(artifacts.network_inputs(workdir / "train"))
    rows, archived = data.on("test"), data.archived()
    _require_whole(workdir / "index" / "archive", len(archived))
    found, spread = together(_assess, config, workdir)
    if spread is not None:
        _require_agreement(spread, found, f"the index, spread over {count()} processes,")
    segmented = workdir / "segment" / "metrics.json"
    again = artifacts.SEGMENT_AGAIN
    results.write_evaluation(
        found,
        out,
        dataset=class_counts(config, table, data),
        images=(images[rows], images[archived]),
        segmentation=(
            files.read_object(segmented, ("dice",), remedy=again) if segmented.is_file() else None
        ),
        efficiency=check_index(config, workdir, found),
        pdf=config.pdf,
    )
    print(results.in_words(found))
    for line in leaks.leak_lines(artifacts.leaks(workdir)):
        print(f"  note: {line}")


def _require_whole(archive: Path, items: int) -> None:
    """Check that the archive holds the items of the run, all of them and no others.

    Raises:
      StageError: items were added to it, or removed from it.
    """
    if not np.array_equal(storage.load(archive).ids, np.arange(items)):
        raise stages.StageError(
            f"{archive}: items were added to the archive or removed from it, so it is not the one "
            f"to evaluate, of {items} items of the run; make it again by --redo=index"
        )


def _assess(config: Config, workdir: Path) -> tuple[Assessment, search_lib.Result | None]:
    """Judge every ranking; the processes share the queries.

    Returns:
      The assessment, and what a search of the index finds that is spread over the devices of all
      processes; None for one process.
    """
    table = artifacts.open_items(workdir)
    data = artifacts.labelled(table, workdir)
    images = views.own_slices(artifacts.network_inputs(workdir / "train"))
    run = EncodedRun.load(config, workdir, data, images)
    rows, archived = data.on("test"), data.archived()
    queries, gallery = baselines.with_codes(
        run.side(rows, archived=False),
        run.side(archived, archived=True),
        fitted=data.side[archived] == "train",
        bits=config.hash.bits,
        seed=config.seed,
        sources=("fc1", "pixels"),
    )
    alone = artifacts.load_codes_alone(workdir / "index")
    if alone is not None:
        queries = queries.with_codes({"alone": alone})
        gallery = gallery.with_codes({"alone": gallery.bits})
    names, patients = (f(table.items)[rows] for f in (items.item_names, items.patients))
    found = assess.assess(
        queries,
        gallery,
        search_settings(config, data.classes),
        class_names=data.class_names,
        names=names,
        patients=patients,
    )
    return found, _search_spread(config, workdir, found) if sharers() > 1 else None


def search_settings(config: Config, classes: int) -> Settings:
    """The search that `config` describes."""
    return Settings(
        classes=classes,
        threshold=config.search.threshold,
        least_pool=config.search.least_pool,
        fine=config.search.features,
        # The paper's random split of slices leaks by design; there, own scans may be found.
        own_group=config.split.kind == "slices",
        weights=config.properties.weights(),
        scales=config.properties.scales(),
    )


def class_counts(
    config: Config, store: item_store.ItemStore, data: Labelled
) -> dict[str, list[int]]:
    """Items of each class by side; of the training side, those that the network is trained on."""
    rows = {side: data.on(side) for side in splits.SIDES}
    rows["train"] = artifacts.training_rows(config, store, data)
    return {
        side: np.bincount(data.labels[of_side], minlength=data.classes).tolist()
        for side, of_side in rows.items()
    }


@dataclasses.dataclass(frozen=True)
class EncodedRun:
    """The items of a run as its network encodes them, and what a search makes of that."""

    config: Config
    data: Labelled
    images: np.ndarray
    """uint8 [N, S, S], the own slices of all items."""
    encoded: Encoded
    """Of all items."""
    learned: PropertyScale
    made: Representation

    @classmethod
    def load(
        cls, config: Config, workdir: Path, data: Labelled, images: np.ndarray
    ) -> "EncodedRun":
        """Read what the stages `train` and `index` left."""
        index = workdir / "index"
        learned = artifacts.load_property_scale(workdir / "train")
        made = artifacts.representation(
            config,
            artifacts.load_scale(index),
            learned,
            data.class_names,
            artifacts.load_hyperplanes(config, index),
        )
        encoded = artifacts.load_embeddings(index)
        return cls(config, data, images, encoded, learned, made)

    def side(self, rows: np.ndarray, *, archived: bool) -> Embedded:
        """The items `rows` in the form that the evaluation takes.

        Args:
          rows: of the item table.
          archived: codes and features may be derived from the records of the items, as those of the
            archive; if not, they are derived from the images alone, as those of queries.
        """
        encoded, made = self.encoded.rows(rows), self.made
        shown = [self.data.items[row] for row in rows]
        known = artifacts.known_of(self.config, shown, self.learned) if archived else None
        codes = {} if self.config.hash.code == "latent" else {"latent": to_bits(encoded, None)}
        features = {
            "joined": made.joined(encoded, known),
            "fc1": encoded.fc1,
            "fc2": encoded.h,
            "fc3": encoded.fc3,
            "fc1_fc3": made.scale.join(encoded),
            "pixels": self.images[rows].reshape(len(rows), -1),
            "hog": baselines.hog(self.images[rows]),
        }
        if self.config.hash.records:
            features["images"] = made.joined(encoded)
            if self.config.hash.code == "joined":
                codes["images_code"] = made.to_bits(encoded)
        names = np.array([item.image or item.nodule for item in shown])
        return Embedded(
            labels=self.data.labels[rows],
            scans=np.array([item.scan for item in shown]),
            diameters_mm=np.array([item.diameter_mm for item in shown]),
            bits=made.to_bits(encoded, known),
            codes=codes,
            features=features,
            names=names,
            malignancy=np.array([item.malignancy for item in shown]),
            nodules=items.nodule_names(shown),
            items=rows,
            properties=properties.columns(shown),
        )


def check_index(config: Config, workdir: Path, found: Assessment) -> list[dict[str, Any]]:
    """Search the index for every query, check the result against the evaluation, and time it.

    Returns:
      The cost of the search by threshold: `threshold`, `mean_pool`, `neighbours_kept` and the
      measured `seconds_per_query`.

    Raises:
      RuntimeError: distances differ from those that were evaluated; names the first query.
    """
    evaluation = found.evaluation
    stored = storage.load(workdir / "index" / "archive", verify=True)
    numbers = {scan: stored.group_number(scan) for scan in {*map(str, found.queries.scans)}}
    given, options = _questions(config, found, numbers)

    def search(threshold: int, min_pool: int = 0) -> search_lib.Result:
        return search_lib.search(
            stored.index, *given, **options, threshold=threshold, min_pool=min_pool
        )

    least = artifacts.least_pool(config, len(stored))
    _require_agreement(search(config.search.threshold, least), found, "the index")
    rows = []
    for threshold in timed_thresholds(config.search.threshold, stored.bits):
        search(threshold)  # compiles
        seconds = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            search(threshold)
            seconds.append((time.perf_counter() - began) / len(found.queries))
        rows.append(
            {
                "threshold": threshold,
                "mean_pool": float(evaluation.pools["mean_size"][threshold - 1]),
                "neighbours_kept": float(evaluation.pools["neighbours_kept"][threshold - 1]),
                "seconds_per_query": float(np.median(seconds)),
            }
        )
    return rows


def _search_spread(config: Config, workdir: Path, found: Assessment) -> search_lib.Result:
    """Search an index that is spread over the devices of all processes; all must call this."""
    from inres.retrieval import sharded  # imports JAX, which one process does not need here

    stored = storage.load(workdir / "index" / "archive")
    groups, numbers = stored.records.groups("scan")
    given, options = _questions(config, found, numbers)
    mesh = sharded.make_mesh()
    index = sharded.build(
        stored.codes,
        stored.features,
        bits=stored.bits,
        mesh=mesh,
        groups=groups,
        ids=stored.ids,
    )
    least = artifacts.least_pool(config, len(stored))
    return sharded.search(
        index, *given, **options, mesh=mesh, threshold=config.search.threshold, min_pool=least
    )


def _questions(
    config: Config, found: Assessment, numbers: Mapping[str, int]
) -> tuple[tuple[np.ndarray, np.ndarray], dict[str, Any]]:
    """Codes and features of the queries, and the options of their search but for the pool.

    Args:
      numbers: of the scans in the archive.
    """
    queries, own_scan = found.queries, found.evaluation.counts["own_scan"]
    own = [-1 if own_scan else numbers.get(str(scan), -1) for scan in queries.scans]
    features = np.asarray(queries.features[config.search.features], np.float32)
    options = {"k": found.evaluation.top.shape[1], "exclude_group": np.array(own)}
    return (codes.pack(queries.bits), features), options


def _require_agreement(answers: search_lib.Result, found: Assessment, what: str) -> None:
    """Check that a search finds what was evaluated, and say so of `what` was searched."""
    judged = np.nan_to_num(found.evaluation.top_distance, nan=np.inf)
    wrong = ~np.isclose(answers.distance, judged, rtol=1e-4, atol=1e-4).all(axis=1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise RuntimeError(
            f"{what} disagrees with the evaluation on {wrong.sum()} queries, first "
            f"{found.queries.names[row]}: {answers.distance[row]} and {judged[row]}"
        )
    print(f"  {what} agrees with the evaluation on all {len(judged)} queries")


def timed_thresholds(used: int, bits: int) -> list[int]:
    """Hamming thresholds to time: the one in use, some around it, and the whole archive."""
    candidates = (1, 2, used, 2 * used, bits // 4, bits // 3, bits // 2, bits + 1)
    return sorted({t for t in candidates if 1 <= t <= bits + 1})
