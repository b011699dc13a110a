"""A small archive of three chests, with an untrained network: made in seconds, without training."""

import dataclasses

import numpy as np
import pytest
import small_run
from ct.trees import write_tree
from data.chests import SCANS, make_config, run
from untrained import untrained

from inres.config import Model
from inres.data import item_table, views
from inres.data.item_store import open_store
from inres.data.properties import PropertyScale, table
from inres.encoding import encoder
from inres.encoding.variables import fingerprint
from inres.learning import recipe
from inres.pipeline import export
from inres.pipeline.records import fields_of
from inres.system import files
from inres.vocabulary import CLASS_NAMES

BITS = 16
NAMES = ("diameter_mm", "texture")
PATIENT = "=SUM(1)<b>Doe^Jane</b>"
"""The patient of one scan: a name that must reach no log and no page as it is."""


def make_archive(root):
    """Write a tree of scans and an item store below `root`, and the archive of all items but one.

    Returns:
      The run, whose scans lie in `root / "tree"`.
    """
    tree = write_tree(root / "tree", SCANS, excluded=[("c", 60, 0, 40, -1)])
    config = make_config(
        tree, view="crop", crop_mm=80.0, size_px=16, neighbours=1, neighbour_mm=5.0, normals=9
    )
    config.model = Model(name="alexnet", stem=8, fc1=16)
    small_run.settings(config)
    config.hash.bits, config.search.threshold = BITS, 7
    config.train.flips = config.train.quarter_turns = False
    made = run(config, tree, root / "items")
    item_table.write_table(root / "items" / "items.csv", [*map(_rated, range(99), made.items)])
    made = open_store(root / "items")
    inputs = np.stack(
        [
            views.stack(*made.planes(row), made.lung_masks[row], (one.row, one.col), config.items)
            for row, one in enumerate(made.items)
        ]
    )
    scale = PropertyScale.of(NAMES, table(made.items, NAMES))
    model = recipe.build_model(config, classes=len(CLASS_NAMES), properties=len(NAMES))
    variables = untrained(model, np.zeros((1, *inputs.shape[1:]), np.float32), None)
    encode = encoder.make_unseen_encoder(config, model, variables, channels=inputs.shape[-1])
    one_by_one = [encode(inputs[row][None]) for row in range(len(inputs))]  # one program
    encoded = one_by_one[0].followed_by(*one_by_one[1:])
    archived = range(1, len(made.items))
    records = [
        fields_of(made.items[row], row)
        | {"texture": made.items[row].value("texture"), "kind": made.items[row].text("kind")}
        for row in archived
    ]
    bits = encoded.h[1:] >= np.median(encoded.h, axis=0)
    return small_run.finished(
        *(root, config, made.items, encoded, bits, records),
        model=fingerprint(variables),
        images=views.own_slices(inputs),
        channels=inputs.shape[-1],
        reach=1,
        item_side_px=made.slices.shape[-1],
        property_scale=scale,
        data_root=tree,
        load_network=lambda: (model, variables),
        open_store=lambda: made,
    )


def _rated(row, item):
    """An item with ratings and texts of its own; some are unknown."""
    rated = {} if row % 3 == 2 else {"texture": 1.0 + row % 5}
    return dataclasses.replace(
        item,
        patient=PATIENT if item.scan == "a" else "",
        properties=rated,
        texts={"kind": "it's <solid>"} if row % 2 else {},
    )


def write_export(run, out):
    """Write the run as an exported folder, which the command line can serve."""
    root = run.root
    metrics = {"dataset": {}, "protocol": {"queries": 0}, "rankings": {"two_stage": {}}}
    files.write_json(root / "evaluation" / "metrics.json", metrics)
    files.write_json(root / "environment.json", {})
    (root / "index").mkdir(exist_ok=True)
    np.save(root / "index" / "trained.npy", np.zeros((0, 16), np.uint8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "open_workdir", lambda _: run)
        export.export_run(root, out)
    return out
