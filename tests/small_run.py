"""A finished run of random embeddings, without networks and training."""

import numpy as np
import pytest

from inres.config import Config
from inres.data.items import Item, size_class
from inres.encoding.binarize import FineScale
from inres.encoding.encoded import Encoded
from inres.pipeline.trained import TrainedRun
from inres.retrieval import codes
from inres.storage import store
from inres.vocabulary import CLASS_NAMES

NAMES = ("diameter_mm", "texture", "margin", "lung_height")
ITEMS, ARCHIVED = 60, 50
NORMAL = 0
"""A normal item, predicted as such; all others with a number that four divides are normal too."""


def make_items(rng):
    rows = []
    for row in range(ITEMS):
        normal = row % 4 == 0
        diameter = 0.0 if normal else float(rng.uniform(3, 30))
        rated = (
            {} if normal else {"texture": float(rng.integers(1, 6)), "margin": rng.uniform(1, 5)}
        )
        if row % 5 == 1:
            rated.pop("texture", None)
        rows.append(
            Item(
                "",
                scan=f"s{row % 13}",
                nodule="" if normal else f"n{row // 2}",
                label=int(size_class(diameter)),
                diameter_mm=diameter,
                properties={**rated, "lung_height": float(rng.random())},
            )
        )
    return tuple(rows)


def settings(config):
    """Change a config: codes and features are layers of the network as they are."""
    config.hash.code = "latent"
    config.search.features, config.search.least_pool = "fc1", 0.0


def finished(root, config, rows, encoded, bits, records, *, model, shard_rows=None, **others):
    """Write an archive below `root`; the finished run with it, without networks unless given.

    Args:
      rows: all items; encoded: their layers.
      bits: bool [N, bits], the codes of those in the archive, of which `records` has the items.
      others: further fields of the run, above all its images.
    """
    archived = [record["item"] for record in records]
    store.save(
        root / "archive",
        codes.pack(bits),
        encoded.fc1[archived],
        records,
        bits=bits.shape[1],
        model=model,
        shard_rows=shard_rows,
        group="scan",
        label="label",
    )
    fields = {
        "channels": 1,
        "reach": 0,
        "data_root": None,
        "load_network": lambda: pytest.fail("no query here needs the network"),
        "load_segmenter": lambda: None,
        "load_digests": frozenset,
    }
    return TrainedRun(
        root=root,
        config=config,
        class_names=CLASS_NAMES,
        load_items=lambda: rows,
        layers=(encoded,),
        hyperplanes=None,
        scale=FineScale(1.0, 1.0),
        stored=store.load(root / "archive"),
        **fields | others,
    )


def make_run(root, rows, scale, *, shard_rows=17):
    rng = np.random.default_rng(1)
    labels = np.array([item.label for item in rows])
    fc3 = np.eye(8, dtype=np.float32)[np.where(labels > 0, 1 + labels % 2, 0)]
    encoded = Encoded(
        rng.standard_normal((ITEMS, 6), np.float32),
        rng.random((ITEMS, 16), np.float32),
        fc3,
        rng.standard_normal((ITEMS, len(scale)), np.float32),
    )
    names = ("texture", "margin", "lung_height")
    records = [
        {"item": row, "scan": item.scan, "nodule": item.nodule, "label": item.label}
        | {"diameter_mm": item.diameter_mm, "malignancy": item.malignancy}
        | {name: item.value(name) for name in names}
        for row, item in enumerate(rows[:ARCHIVED])
    ]
    config = Config()
    settings(config)
    config.search.threshold = 5
    return finished(
        *(root, config, rows, encoded, encoded.h[:ARCHIVED] >= 0.5, records),
        model="m",
        shard_rows=shard_rows,
        images=rng.integers(0, 255, (ITEMS, 8, 8), np.uint8),
        item_side_px=8,
        property_scale=scale,
    )
