"""Train InRes-Net or AlexNet on the segmented items (paper, sections 3.2 to 3.4).

    python -m experiments.train --config=experiments/configs/phantom.py --workdir=runs/phantom

Leaves <workdir>/train: inputs.npy (what the network sees), checkpoints, log.jsonl, TensorBoard
events, summary.json. Interrupted, it goes on from its last checkpoint, to
the same weights.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from experiments import common, split
from inres.config import Config, ConfigError
from inres.data import batches, items, splits, views
from inres.encoding import encode
from inres.evaluation import metrics
from inres.evaluation.distances import hamming_distances
from inres.learning import devices, loop, objective, recipe
from inres.learning.best import Best
from inres.learning.checkpoints import Checkpoints
from inres.learning.logs import MetricLog
from inres.learning.step import make_train_step
from inres.learning.train_state import TrainState, begin, init_state, restore
from inres.pipeline import stages
from inres.system import files
from inres.system.progress import progress


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Items with labels, their split and their network inputs."""

    items: tuple[items.Item, ...]
    labels: np.ndarray
    """int32 [N]"""
    side: np.ndarray
    """str [N], `train`, `val`, `test` or empty."""
    class_names: tuple[str, ...]

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self.class_names)


def run(config: Config, workdir: Path) -> None:
    """Train, unless that was done."""
    inputs = {
        **{n: common.part(getattr(config, n)) for n in ("model", "loss", "train")},
        "hash": common.part(config.hash, "bits"),
        "items": common.part(config.items, "view", "crop_mm", "segmented", "size_px"),
        "seed": config.seed,
        "upstream": {"segment": stages.done(workdir, "segment")},
    }
    stages.run(workdir, "train", inputs, lambda out: _train(config, workdir, out))


def labelled(config: Config, store: items.ItemStore) -> Labelled:
    """The items' labels and split, checked: every class that is searched for is trained.

    Raises:
      ConfigError: no labels, one class alone, or a class without training items.
    """
    labels = store.column("label").astype(np.int32)
    table = store.root / "items.csv"
    if np.any(labels < 0):
        raise ConfigError(f"{table}: items without a label; only the segment stage can use them")
    side = split.sides(store.root.parent)
    splits.require_trained(labels, side, table)
    names = items.class_names(labels, store.column("diameter_mm"))
    return Labelled(store.items, labels, side, names)


def make_views(config: Config, workdir: Path, out: Path) -> None:
    """Every item's network input, its view amid those of its neighbours: inputs.npy, uint8
    [N, S, S, C]; made once."""
    if (out / "inputs.npy").is_file():
        return
    store = items.open_store(workdir / "prepare")
    learned = workdir / "segment" / "masks.npy"
    masks = np.load(learned, mmap_mode="r") if learned.is_file() else store.lung_masks
    size = config.items.size_px
    shape = (len(store.items), size, size, len(store.planes(0)))
    with files.array_file(out / "inputs.npy", shape) as file:
        for i, item in enumerate(progress(store.items, name="cut views", unit="item")):
            mask = None if masks is None else masks[i]
            stack = views.stack(store.planes(i), mask, (item.row, item.col), config.items)
            file.write(stack.tobytes())


def network_inputs(workdir: Path) -> np.ndarray:
    """What the network sees of every item, memory-mapped: uint8 [N, S, S, C]."""
    return np.load(workdir / "train" / "inputs.npy", mmap_mode="r")


def pictures(workdir: Path) -> np.ndarray:
    """Every item's own view, memory-mapped: uint8 [N, S, S]."""
    inputs = network_inputs(workdir)
    return inputs[..., inputs.shape[-1] // 2]


def look_for_blanks(images: np.ndarray, rows: np.ndarray, path: Path) -> list[str]:
    """What the user should know of blank network inputs, uint8 [N, S, S, C], among `rows`.

    Raises:
      ValueError: there are no others; names the remedy.
    """
    blank = sum(not images[row].any() for row in rows)
    if not blank:
        return []
    masked = (
        "if the data has lung masks, they leave nothing of these (segment/examples.png): train the "
        "U-Net longer (--config.segment.steps), use the masks it learns from "
        "(--config.segment.enabled=false), or none (--config.items.segmented=false)"
    )
    if blank == len(rows):
        raise ValueError(f"{path}: all {blank} training images are blank (0); {masked}")
    return [f"{blank} of {len(rows)} training images are blank (0); {masked}"]


def trained(config: Config, workdir: Path, classes: int) -> tuple[nn.Module, dict[str, Any]]:
    """The trained network and its variables."""
    model = recipe.build_model(config, classes=classes)
    optimizer, _ = recipe.optimizer(config, steps=1, steps_per_epoch=1)
    mesh = devices.data_mesh()
    fresh = _fresh(config, model, optimizer, network_inputs(workdir), mesh)
    kept = "best" if config.train.keep == "best" else "checkpoints"
    checkpoints = Checkpoints(workdir / "train" / kept)
    state = restore(fresh, checkpoints, mesh=mesh)
    checkpoints.close()
    return model, state.variables


def _fresh(
    config: Config, model: nn.Module, optimizer, inputs: np.ndarray, mesh: Mesh
) -> Callable[[], TrainState]:
    """A function that makes the state before the first step."""

    def fresh() -> TrainState:
        image = recipe.to_input(jnp.zeros((1, *inputs.shape[1:]), jnp.uint8))
        variables = dict(jax.jit(model.init)(jax.random.key(config.seed), image))
        return init_state(variables, optimizer, mesh=mesh)

    return fresh


def drawn(
    config: Config, arrays: Mapping[str, np.ndarray], *, start: int, steps: int
) -> Iterator[dict[str, np.ndarray]]:
    """This process's part of each batch of the training items `arrays`, from step `start` on.

    Classes are balanced by `train.balance_power`; the last `train.clean_share` of the steps ask
    for no augmentation.
    """
    c = config.train
    return batches.batches(
        arrays,
        weights=batches.draw_weights(arrays["label"], c.balance_power),
        batch=c.batch,
        seed=config.seed,
        start=start,
        steps=steps,
        process=(jax.process_index(), jax.process_count()),
        augmented=round(steps * (1.0 - c.clean_share)),
    )


def _train(config: Config, workdir: Path, out: Path) -> None:
    store = items.open_store(workdir / "prepare")
    data = labelled(config, store)
    c = config.train
    mesh = devices.data_mesh()
    devices.require_divisible(c.batch, mesh, "config.train.batch")
    rows = np.flatnonzero(data.side == "train")
    per_epoch = batches.steps_per_epoch(len(rows), c.batch)
    steps = per_epoch * c.epochs
    arrays = {
        "item": rows.astype(np.int32),
        "label": data.labels[rows],
        "diameter_mm": store.column("diameter_mm")[rows].astype(np.float32),
    }
    codes = objective.target_codes(
        config, arrays["label"], store.column("diameter_mm")[rows], classes=data.classes
    )
    if codes is not None:
        arrays["code"] = codes
    make_views(config, workdir, out)
    images = np.asarray(network_inputs(workdir))
    for note in look_for_blanks(images, rows, out / "inputs.npy"):
        print(f"  note: {note}")
    model = recipe.build_model(config, classes=data.classes)
    optimizer, rate = recipe.optimizer(config, steps=steps, steps_per_epoch=per_epoch)
    validation = _validation(model, data, images)
    if c.keep == "best" and validation is None:
        raise ConfigError(
            "config.train.keep = 'best': there is no validation part to tell the best by; set "
            "--config.split.val_share (or val_subsets), or --config.train.keep=last"
        )
    left_out = np.sum(data.side == "")
    if left_out:
        print(f"  note: {left_out} items are on no side of the split and left out")
    checkpoints = Checkpoints(out / "checkpoints")
    state = begin(_fresh(config, model, optimizer, images, mesh), checkpoints, mesh=mesh)
    start = int(state.step)
    count = sum(p.size for p in jax.tree.leaves(state.params))
    print(f"  {config.model.name}: {count:,} parameters, {len(rows)} training items")
    if start:
        print(f"  resumed at step {start} of {steps}")
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    best = None
    if c.keep == "best":
        best = Best(out / "best", c.monitor, patience=c.patience * per_epoch)
    began = time.perf_counter()
    with MetricLog(out, step=start) as log:
        state = loop.fit(
            state,
            make_train_step(
                recipe.hash_loss(model, config, steps=steps, classes=data.classes),
                optimizer,
                key=key,
                mesh=mesh,
            ),
            drawn(config, {"image": images[rows], **arrays}, start=start, steps=steps),
            steps=steps,
            steps_per_epoch=per_epoch,
            mesh=mesh,
            log=log,
            checkpoints=checkpoints,
            checkpoint_every=c.checkpoint_every * per_epoch,
            evaluate=validation,
            evaluate_every=c.eval_every * per_epoch,
            best=best,
            rate=rate,
        )
    checkpoints.close()
    trained_steps = int(state.step)
    if best is not None:
        best.close()
        _, variables = trained(config, workdir, data.classes)
        print(f"  kept step {best.step}: validation {best.measure} {best.score:.3f}")
    else:
        variables = state.variables
    summary = {
        "steps": trained_steps,
        "kept_step": trained_steps if best is None else best.step,
        "parameters": count,
        "training_items": len(rows),
        "seconds_of_last_run": round(time.perf_counter() - began, 1),
        "model": encode.fingerprint(variables),
    }
    files.write_json(out / "summary.json", summary)


def _validation(model: nn.Module, data: Labelled, images: np.ndarray):
    """How validation items are classified and find training items; None without any."""
    query, gallery = (np.flatnonzero(data.side == s) for s in ("val", "train"))
    if not len(query):
        return None

    def evaluate(state: TrainState) -> dict[str, float]:
        encoder = encode.make_encoder(model, state.variables, quiet=True)
        q, g = encoder(images[query]), encoder(images[gallery])
        labels = data.labels[query]
        found = []
        for part in metrics.chunks(len(query), len(gallery)):
            distances = hamming_distances(q.h[part] >= 0.5, g.h >= 0.5).astype(np.float64)
            same = labels[part, None] == data.labels[gallery][None]
            found.append(metrics.average_precision(metrics.find(metrics.rank(distances), same)))
        score = metrics.macro(np.concatenate(found), labels)
        return {
            "accuracy": float(np.mean(q.fc3.argmax(1) == labels)),
            "map_macro": float("nan") if score is None else score,
            "distinct_codes": float(len(np.unique(np.packbits(g.h >= 0.5, axis=1), axis=0))),
        }

    return evaluate


if __name__ == "__main__":
    common.launch(run)
