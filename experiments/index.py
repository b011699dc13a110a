"""Encode the items and write the searchable index (paper, section 3.3).

    python -m experiments.index --config=experiments/configs/phantom.py --workdir=runs/phantom

Leaves <workdir>/index: embeddings.npz (FC1, H and FC3 of every item, in the item table's order; of
those that the network was not trained on, over their views, config.hash.views_weight),
planes.npz where the code is H and FC1 turned (config.hash.code), fitted on training items,
scale.json (with which FC1 and FC3 are joined),
alone.npy where items have neighbouring slices (codes of the test items without theirs), and
archive/, the index of the training and validation items.
"""

from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np

from experiments import common, train
from inres.config import Config
from inres.data import items, views
from inres.encoding import encode
from inres.encoding.linear_codes import Hyperplanes
from inres.pipeline import stages
from inres.retrieval import codes
from inres.storage import store
from inres.system import files

COLUMNS = (
    *("scan", "patient", "nodule", "label", "diameter_mm", "malignancy", "subset"),
    *("x_mm", "y_mm", "z_mm"),
)


def run(config: Config, workdir: Path) -> None:
    """Encode and write, unless that was done."""
    inputs = {
        "search": common.part(config.search, "features"),
        "hash": common.part(config.hash, "code", "fc1_weight", "views_weight"),
        "upstream": {"train": stages.done(workdir, "train")},
    }
    stages.run(workdir, "index", inputs, lambda out: _index(config, workdir, out))


def fine_features(config: Config, encoded: encode.Encoded, scale: encode.FineScale) -> np.ndarray:
    """What the fine stage compares: FC1, or FC1 with FC3. float32 [N, D]."""
    return encoded.fc1 if config.search.features == "fc1" else scale.join(encoded)


def load_embeddings(workdir: Path) -> encode.Encoded:
    """FC1, H and FC3 of every item, in the item table's order."""
    with np.load(workdir / "index" / "embeddings.npz") as data:
        return encode.Encoded(data["fc1"], data["h"], data["fc3"])


def load_planes(config: Config, workdir: Path) -> Hyperplanes | None:
    """What turns H and FC1 into a code; None where H at 0.5 is one."""
    if config.hash.code == "latent":
        return None
    with np.load(workdir / "index" / "planes.npz") as data:
        return Hyperplanes(data["mean"], data["planes"])


def load_alone(workdir: Path) -> np.ndarray | None:
    """Codes of the test items without their neighbours, bool [T, h]; None where there are none."""
    path = workdir / "index" / "alone.npy"
    return np.load(path) if path.is_file() else None


def fingerprint(variables: dict[str, Any], planes: Hyperplanes | None) -> str:
    """Of all that makes an item's code and features: `encode.fingerprint`."""
    return encode.fingerprint(variables | ({} if planes is None else {"code": vars(planes)}))


def load_scale(workdir: Path) -> encode.FineScale:
    """The scales with which the index joins FC1 and FC3."""
    return encode.FineScale(**files.read_json(workdir / "index" / "scale.json"))


def rows_of(encoded: encode.Encoded, rows: np.ndarray) -> encode.Encoded:
    """Some of the items."""
    return encode.Encoded(encoded.fc1[rows], encoded.h[rows], encoded.fc3[rows])


def put_rows(encoded: encode.Encoded, rows: np.ndarray, values: encode.Encoded) -> None:
    """Put `values` in the place of some items."""
    for name, value in vars(values).items():
        getattr(encoded, name)[rows] = value


def unseen_encoder(
    config: Config, model: nn.Module, variables: dict[str, Any], *, channels: int
) -> encode.Encoder:
    """Of images that the network was not trained on: in all views (config.hash.views_weight)."""
    all_views = views.symmetries(
        channels, flips=config.train.flips, quarter_turns=config.train.quarter_turns
    )
    # Without augmentation the network has seen images as they are alone.
    weight = config.hash.views_weight if config.train.clean_share < 1 else 0.0
    return encode.make_encoder(model, variables, views=all_views, views_weight=weight)


def archived(data: train.Labelled) -> np.ndarray:
    """Rows of the item table that the index holds: training and validation items.

    Of nodules that train with several slices, the central one.
    """
    central = np.array([not item.offset_mm for item in data.items])
    return np.flatnonzero(np.isin(data.side, ("train", "val")) & central)


def _index(config: Config, workdir: Path, out: Path) -> None:
    table = items.open_store(workdir / "prepare")
    data = train.labelled(config, table)
    model, variables = train.trained(config, workdir, data.classes)
    inputs = train.network_inputs(workdir)
    encoded = encode.make_encoder(model, variables)(inputs)
    new = data.side != "train"
    encoder = unseen_encoder(config, model, variables, channels=inputs.shape[-1])
    if new.any():
        put_rows(encoded, new, encoder(inputs[new]))
    with files.atomic_path(out / "embeddings.npz") as part:
        np.savez(part, fc1=encoded.fc1, h=encoded.h, fc3=encoded.fc3)
    rows = archived(data)
    gallery = rows_of(encoded, rows)
    planes = None
    if config.hash.code == "rotated":
        trained = rows_of(encoded, rows[data.side[rows] == "train"])
        planes = encode.fit_planes(trained, fc1_weight=config.hash.fc1_weight, seed=config.seed)
        with files.atomic_path(out / "planes.npz") as part:
            np.savez(part, mean=planes.mean, planes=planes.planes)
    bits = encode.to_bits(gallery, planes)
    asked = data.side == "test"
    if inputs.shape[-1] > 1 and asked.any():
        alone = encoder(views.alone(inputs[asked]))
        with files.atomic_path(out / "alone.npy") as part:
            np.save(part, encode.to_bits(alone, planes))
    scale = encode.FineScale.of(gallery)
    files.write_json(out / "scale.json", vars(scale))
    records = [
        {"item": int(row), "image": table.items[row].image}
        | {name: getattr(table.items[row], name) for name in COLUMNS}
        for row in rows
    ]
    store.save(
        out / "archive",
        codes.pack(bits),
        fine_features(config, gallery, scale),
        records,
        bits=config.hash.bits,
        model=fingerprint(variables, planes),
    )
    distinct = len(np.unique(bits, axis=0))
    print(
        f"  {len(rows)} items of {config.hash.bits} bits in {out / 'archive'}, "
        f"{distinct} distinct codes"
    )


if __name__ == "__main__":
    common.launch(run)
