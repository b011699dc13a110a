"""Judge every ranking on the test items (paper, section 4.2: Figs. 8 to 10, Tables 2 and 3).

    python -m experiments.evaluate --config=experiments/configs/phantom.py --workdir=runs/phantom

Leaves <workdir>/evaluation: metrics.json (keys in the README), curves, tables and figures. The
ranking that is judged is recomputed from the embeddings in NumPy; the index must agree with it,
and is timed. Baseline codes are fitted on training items. Half a minute for 4,000 items.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments import common, index, split, train
from inres.config import Config
from inres.data import items, splits
from inres.encoding import encode
from inres.evaluation import baselines
from inres.evaluation.assessment import Assessment
from inres.evaluation.embedded import Embedded
from inres.evaluation.settings import Settings
from inres.pipeline import assess, stages
from inres.report import results
from inres.retrieval import codes
from inres.retrieval import index as index_lib
from inres.retrieval import search as search_lib
from inres.storage import store
from inres.system import files

REPEATS = 5
"""Timings of each threshold; their median counts."""


def run(config: Config, workdir: Path) -> None:
    """Judge, unless that was done."""
    inputs = {
        "search": common.part(config.search, "threshold", "features"),
        "pdf": config.pdf,
        "upstream": {"index": stages.done(workdir, "index")},
    }
    stages.run(workdir, "evaluation", inputs, lambda out: _evaluate(config, workdir, out))


def _evaluate(config: Config, workdir: Path, out: Path) -> None:
    table = items.open_store(workdir / "prepare")
    data = train.labelled(config, table)
    images = train.pictures(workdir)
    queries, gallery = np.flatnonzero(data.side == "test"), index.archived(data)
    query_side = embedded(config, workdir, table, images, queries)
    gallery_side = embedded(config, workdir, table, images, gallery)
    query_side, gallery_side = baselines.with_codes(
        query_side,
        gallery_side,
        fitted=data.side[gallery] == "train",
        bits=config.hash.bits,
        seed=config.seed,
        sources=("fc1", "pixels"),
    )
    alone = index.load_alone(workdir)
    if alone is not None:
        query_side = query_side.with_codes({"alone": alone})
        gallery_side = gallery_side.with_codes({"alone": gallery_side.bits})
    settings = search_settings(config, data.classes)
    names, patients = (f(table.items)[queries] for f in (items.item_names, items.patients))
    found = assess.assess(
        query_side,
        gallery_side,
        settings,
        class_names=data.class_names,
        names=names,
        patients=patients,
    )
    efficiency = check_index(config, workdir, found)
    segmented = workdir / "segment" / "metrics.json"
    results.write_evaluation(
        found,
        out,
        dataset={
            side: np.bincount(data.labels[data.side == side], minlength=data.classes).tolist()
            for side in splits.SIDES
        },
        images=(images[queries], images[gallery]),
        segmentation=files.read_json(segmented) if segmented.is_file() else None,
        efficiency=efficiency,
        pdf=config.pdf,
    )
    print(results.in_words(found))
    for line in split.leak_lines(workdir):
        print(f"  note: {line}")


def search_settings(config: Config, classes: int) -> Settings:
    """The search that `config` describes."""
    return Settings(
        classes=classes,
        threshold=config.search.threshold,
        fine=config.search.features,
        # The paper's random split of slices leaks by design; there, own scans may be found.
        own_group=config.split.kind == "slices",
    )


def embedded(
    config: Config, workdir: Path, table: items.ItemStore, images: np.ndarray, rows: np.ndarray
) -> Embedded:
    """Some items as the evaluation wants them."""
    encoded = index.rows_of(index.load_embeddings(workdir), rows)
    planes = index.load_planes(config, workdir)
    names = table.column("image")[rows]
    names = np.where(names == "", table.column("nodule")[rows], names)
    return Embedded(
        labels=table.column("label").astype(np.int32)[rows],
        scans=table.column("scan")[rows],
        diameters_mm=table.column("diameter_mm")[rows],
        bits=encode.to_bits(encoded, planes),
        codes={} if planes is None else {"latent": encode.to_bits(encoded, None)},
        features={
            "fc1": encoded.fc1,
            "fc2": encoded.h,
            "fc3": encoded.fc3,
            "fc1_fc3": index.load_scale(workdir).join(encoded),
            "pixels": images[rows].reshape(len(rows), -1),
            "hog": baselines.hog(images[rows]),
        },
        names=names,
        malignancy=table.column("malignancy")[rows],
        nodules=items.nodule_names([table.items[row] for row in rows]),
    )


def check_index(config: Config, workdir: Path, found: Assessment) -> list[dict[str, Any]]:
    """Search the index for every query: pools and distances must be those that were evaluated.

    Returns:
      What searching costs by threshold: `threshold`, `mean_pool`, `neighbours_kept` and the
      measured `seconds_per_query`.

    Raises:
      RuntimeError: they are not; names the first query.
    """
    stored = store.load(workdir / "index" / "archive", verify=True)
    groups, numbers = stored.records.groups("scan")
    built = index_lib.build(
        stored.codes, stored.features, bits=stored.bits, groups=groups, ids=stored.ids
    )
    queries, evaluation = found.queries, found.evaluation
    own_scan = evaluation.counts["own_scan"]
    own = np.array([-1 if own_scan else numbers.get(str(scan), -1) for scan in queries.scans])
    packed = codes.pack(queries.bits)
    features = np.asarray(queries.features[config.search.features], np.float32)

    def search(threshold: int) -> search_lib.Result:
        return search_lib.search(
            built,
            packed,
            features,
            threshold=threshold,
            k=evaluation.top.shape[1],
            exclude_group=own,
        )

    nearest = search(config.search.threshold)
    judged = np.nan_to_num(evaluation.top_distance, nan=np.inf)
    wrong = ~np.isclose(nearest.distance, judged, rtol=1e-4, atol=1e-4).all(axis=1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise RuntimeError(
            f"the index disagrees with the evaluation on {wrong.sum()} queries, first "
            f"{queries.names[row]}: {nearest.distance[row]} against {judged[row]}"
        )
    print(f"  the index agrees with the evaluation on all {len(judged)} queries")
    rows = []
    for threshold in thresholds(config.search.threshold, stored.bits):
        search(threshold)  # compiles
        seconds = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            search(threshold)
            seconds.append((time.perf_counter() - began) / len(judged))
        rows.append(
            {
                "threshold": threshold,
                "mean_pool": float(evaluation.pools["mean_size"][threshold - 1]),
                "neighbours_kept": float(evaluation.pools["neighbours_kept"][threshold - 1]),
                "seconds_per_query": float(np.median(seconds)),
            }
        )
    return rows


def thresholds(used: int, bits: int) -> list[int]:
    """Those that are timed: the one used, some around it, and the whole archive."""
    some = (1, 2, used, 2 * used, bits // 4, bits // 3, bits // 2, bits + 1)
    return sorted({t for t in some if 1 <= t <= bits + 1})


if __name__ == "__main__":
    common.launch(run)
