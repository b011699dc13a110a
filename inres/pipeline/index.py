"""Stage `index`: encode the items and write the searchable archive (paper, section 3.3)."""

from pathlib import Path
from typing import Any

import numpy as np

from inres.config import Config
from inres.data import item_table, views
from inres.encoding.binarize import FineScale
from inres.encoding.encoded import Encoded
from inres.encoding.variables import fingerprint
from inres.pipeline import artifacts, digests, networks, stages
from inres.pipeline.inputs import stage_inputs
from inres.pipeline.records import fields_of
from inres.retrieval import codes
from inres.storage import store as storage
from inres.system import files
from inres.system.rows import Selected
from inres.system.together import together


def build_index(config: Config, workdir: Path) -> None:
    """Write `<workdir>/index` unless it is complete.

    Results: embeddings.npz (the layers of every item, in the item table's order; items that were
    not in training are averaged over their views), planes.npz (the hyperplanes of the code, fitted
    on training items, unless `config.hash.code` is `latent`), scale.json (spreads of FC1 and FC3),
    alone.npy (where items
    have neighbouring slices: codes of the test items without theirs), trained.npy (digests of the
    network inputs in training), kind.json (names of the classes, side of an image) and archive/,
    the index of the training and validation items.
    """
    inputs = stage_inputs(config, "index")
    inputs["upstream.train"] = stages.done(workdir, "train")
    stages.run_stage(workdir, "index", inputs, lambda out: _index(config, workdir, out))


def _index(config: Config, workdir: Path, out: Path) -> None:
    table = artifacts.open_items(workdir)
    data = artifacts.labelled(table, workdir)
    inputs = artifacts.network_inputs(workdir / "train")
    encoded, alone, variables = together(_encode, config, workdir)
    artifacts.save_embeddings(out / "embeddings.npz", encoded)
    artifacts.save_kind(out, data.class_names, table.slices.shape[-1])
    seen = artifacts.training_rows(config, table, data)
    _save_array(out / "trained.npy", digests.of_inputs(inputs, seen))

    rows = data.archived()
    gallery, learned = encoded.rows(rows), artifacts.load_property_scale(workdir / "train")
    known = artifacts.known_of(config, [table.items[row] for row in rows], learned)
    trained = np.flatnonzero(data.side[rows] == "train")
    scale = FineScale.of(gallery.rows(trained))
    files.write_json(out / "scale.json", vars(scale))
    made = artifacts.representation(config, scale, learned, data.class_names).fitted(
        gallery.rows(trained),
        None if known is None else known.rows(trained),
        bits=config.hash.bits,
        fc1_weight=config.hash.fc1_weight,
        seed=config.seed,
    )
    if made.hyperplanes is not None:
        artifacts.save_hyperplanes(out / "planes.npz", made.hyperplanes)
    if alone is not None:
        _save_array(out / "alone.npy", made.to_bits(alone))

    bits = made.to_bits(gallery, known)
    properties, texts = item_table.property_names(table.items), item_table.text_names(table.items)
    records = [
        fields_of(table.items[row], int(row))
        | {name: table.items[row].value(name) for name in properties}
        | {name: table.items[row].text(name) for name in texts}
        for row in rows
    ]
    storage.save(
        out / "archive",
        codes.pack(bits),
        made.to_features(gallery, known),
        records,
        bits=config.hash.bits,
        group="scan",
        label="label",
        model=fingerprint(variables, made.hyperplanes),
    )
    print(
        f"  {len(rows)} items of {config.hash.bits} bits, "
        f"{len(np.unique(bits, axis=0))} distinct codes"
    )


def _encode(config: Config, workdir: Path) -> tuple[Encoded, Encoded | None, dict[str, Any]]:
    """Encode all items; the processes share them.

    Returns:
      The layers of all items, those of the test items without their neighbours (None if items are
      single slices), and the variables of the network.
    """
    data = artifacts.labelled(artifacts.open_items(workdir), workdir)
    inputs = artifacts.network_inputs(workdir / "train")
    channels = inputs.shape[-1]
    model, variables = networks.load_network(
        config, workdir / "train", classes=data.classes, channels=channels
    )
    encode, encode_unseen = networks.encoders(config, model, variables, channels=channels)
    encoded = encode(inputs)
    unseen, queries = data.on("val", "test"), data.on("test")
    if len(unseen):
        encoded = encoded.with_rows(unseen, encode_unseen(Selected(inputs, unseen)))
    alone = None
    if views.planes_of(channels) > 1 and len(queries):
        alone = encode_unseen(views.alone(inputs[queries]))
    return encoded, alone, variables


def _save_array(path: Path, array: np.ndarray) -> None:
    with files.atomic_path(path) as part:
        np.save(part, array)
