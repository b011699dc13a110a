"""Stage `train`: train the network on the segmented items (paper, sections 3.2 to 3.4)."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np

from inres.config import Config, ConfigError
from inres.data import batches, item_store, properties, stack_shape, views, zoom
from inres.data.properties import PropertyScale
from inres.encoding import encoder
from inres.encoding.variables import fingerprint
from inres.evaluation import metrics
from inres.evaluation.distances import hamming_distances
from inres.learning import devices, loop, losses, objective, recipe, sight
from inres.learning.best import Best
from inres.learning.checkpoints import Checkpoints
from inres.learning.logs import open_log
from inres.learning.profiling import profiled
from inres.learning.step import make_train_step
from inres.learning.train_state import TrainState, begin
from inres.pipeline import artifacts, networks, stages
from inres.pipeline.artifacts import Labelled
from inres.pipeline.inputs import stage_inputs
from inres.system import files
from inres.system.progress import progress
from inres.system.rows import Images, Rows, Selected
from inres.system.together import agreed, together

Validate = Callable[[TrainState], dict[str, float]]


def train_network(config: Config, workdir: Path, *, profile: Path | None = None) -> None:
    """Write `<workdir>/train` unless it is complete.

    Results: inputs.npy (network input of every item), shape.json (how much of a stack is visible),
    properties.json (scale of the properties), checkpoints, log.jsonl, TensorBoard events and
    summary.json. An interrupted training continues from its last checkpoint, to the same weights.

    Args:
      config, workdir: of the run.
      profile: folder for a trace of some steps (`learning.profiling`); None: no trace.

    Raises:
      ConfigError: the items, the split or the recipe allow no training; names the field.
      TrainingError: the loss or the weights are not finite.
    """
    inputs = stage_inputs(config, "train")
    inputs["upstream.segment"] = stages.done(workdir, "segment")
    stages.run_stage(workdir, "train", inputs, lambda out: _train(config, workdir, out, profile))


def _train(config: Config, workdir: Path, out: Path, profile: Path | None) -> None:
    devices.require_divisible(config.train.batch, devices.data_mesh(), "config.train.batch")
    store = artifacts.open_items(workdir)
    data = artifacts.labelled(store, workdir)
    rows = artifacts.training_rows(config, store, data)
    scale = property_scale(config, store, rows)
    artifacts.save_property_scale(out, scale)
    training_arrays(config, store, data, rows, scale)  # refuses what cannot be learned
    reach, limit = visible_reach(config, store, data, rows)
    artifacts.save_reach(out, limit)
    write_inputs(config, store, workdir / "segment", out, reach=reach)
    images = np.asarray(artifacts.network_inputs(out))
    notes = blank_notes(images, rows, out / "inputs.npy", config.items.view)
    if not_in_split := int(np.sum(data.side == "")):
        notes.append(f"{not_in_split} items are on no side of the split and left out")
    half = len(store.known_planes(0)) // 2
    hidden = int(np.sum(reach[rows] < known_reach(store, rows)))
    if hidden:
        notes.append(
            f"at most {limit} of {half} planes on each side are visible, and less than there is of "
            f"{hidden} training items, so that the length of a stack does not reveal its class"
        )
    for note in notes:
        print(f"  note: {note}")
    began = time.perf_counter()
    summary = together(_fit, config, workdir, out, profile)
    summary["seconds_of_last_run"] = round(time.perf_counter() - began, 1)
    files.write_json(out / "summary.json", summary)


def property_scale(config: Config, store: item_store.ItemStore, rows: np.ndarray) -> PropertyScale:
    """The properties that the training items `rows` allow to learn, and their scale.

    Raises:
      ConfigError: a property is requested of which too little is known.
    """
    items = [store.items[row] for row in rows]
    properties.require_columns(
        {
            "properties.importance": config.properties.weights(),
            "properties.scale": config.properties.scales(),
        },
        store.items,
    )
    names = properties.chosen(config.properties.names, items)
    return PropertyScale.of(names, properties.table(items, names))


def training_arrays(
    config: Config,
    store: item_store.ItemStore,
    data: Labelled,
    rows: np.ndarray,
    scale: PropertyScale,
) -> dict[str, np.ndarray]:
    """Everything that a batch holds of the training items `rows`, except their images.

    Items occur once for each factor of `data.zoom`; `place` says which of the rows each is.
    """
    zoomed = zoom.zoom_items(
        data.labels[rows],
        store.column("diameter_mm")[rows].astype(np.float64),
        data.class_names,
        config.train.zoom,
    )
    items = [store.items[row] for row in rows[zoomed.place]]
    arrays = {
        "place": zoomed.place,
        "item": rows[zoomed.place].astype(np.int32),
        "label": zoomed.labels,
        "diameter_mm": zoomed.diameters_mm.astype(np.float32),
    }
    if config.train.zoom > 1:
        arrays["factor"] = zoomed.factor
    known = properties.table(items, scale.names)
    if "diameter_mm" in scale.names:
        known[:, scale.names.index("diameter_mm")] *= zoomed.factor
    if len(scale):
        arrays["properties"] = scale.standardise(known)
        importance = config.properties.weights()
        of_each = np.array([importance.get(name, 1.0) for name in scale.names], np.float32)
        arrays["property_weights"] = properties.agreement_weights(items, scale) * of_each
    truth = losses.Truth(zoomed.labels, zoomed.diameters_mm, scale.names, known)
    codes = objective.target_codes(config, truth, classes=data.classes)
    return arrays if codes is None else {**arrays, "code": codes}


def visible_reach(
    config: Config, store: item_store.ItemStore, data: Labelled, rows: np.ndarray
) -> tuple[np.ndarray, int]:
    """How many planes on each side of the middle one the network may see.

    The extent of a stack may reveal the class: a folder's stacks end with their nodules, and of
    scans, normal places are closer to the ends than nodules (of phantoms, a fifth of the cubes of
    normal places are cut by an end, of nodules 3 %). So it has one distribution for all classes
    among the training items `rows`, and all other items are limited to the largest of these. Where
    no stack is cut, all of it is visible, and where few are, few others are shortened. The mean
    over planes that are seen one by one hides their number (`inres.models.head.mean_of_seen`).

    Returns:
      int [N], of each item, and the limit for a query.
    """
    count = len(store.known_planes(0))
    reach, limit = np.full(len(store.items), count // 2), count // 2
    if count == 1 or config.model.planes == "each":
        return reach, limit
    found = stack_shape.equalise(known_reach(store, rows), data.labels[rows], seed=config.seed)
    limit = int(found.cap)
    reach[:] = limit
    reach[rows] = found.visible.astype(int)
    return reach, limit


def known_reach(store: item_store.ItemStore, rows: np.ndarray) -> np.ndarray:
    """How many planes on each side of the middle one are known of the items `rows`: int [n]."""
    return np.array([stack_shape.reach(store.known_planes(row)) for row in rows])


def write_inputs(
    config: Config, store: item_store.ItemStore, segment: Path, out: Path, *, reach: np.ndarray
) -> None:
    """Write the network input of every item, uint8 [N, S, S, C], unless it is there.

    The channels are those of `views.stack` or `views.cube`. Masks of the U-Net in the directory
    `segment`, which sees slices, take precedence over those of slices; cubes have the masks of the
    preparation.

    Args:
      reach: int [N], how many planes on each side of the middle one are visible of each item.
    """
    if (out / "inputs.npy").is_file():
        return
    size = config.items.input_px
    if store.cubes is not None and store.cube_states is not None:
        with files.array_file(out / "inputs.npy", (len(store.items), size, size, 2 * size)) as file:
            rows = range(len(store.items))
            for row in progress(rows, name="network inputs", unit="item"):
                made = views.cube(store.cubes[row], store.cube_states[row], config.items)
                file.write(views.limited(made, reach[row]).tobytes())
        return
    learned = segment / artifacts.MASKS
    masks = Rows(learned, artifacts.SEGMENT_AGAIN) if learned.is_file() else store.lung_masks
    count = len(store.planes(0)[1])
    shape = (len(store.items), size, size, 2 * count if count > 1 else 1)
    with files.array_file(out / "inputs.npy", shape) as file:
        for i, item in enumerate(progress(store.items, name="network inputs", unit="item")):
            mask = None if masks is None else masks[i]
            stack = views.stack(*store.planes(i), mask, (item.row, item.col), config.items)
            file.write(views.limited(stack, reach[i]).tobytes())


def blank_notes(images: np.ndarray, rows: np.ndarray, path: Path, view: str) -> list[str]:
    """Messages about network inputs, uint8 [N, S, S, C], whose planes are blank (0) among `rows`.

    Args:
      view: `config.items.view`; cubes do not have their lungs from the U-Net.

    Raises:
      ValueError: all of them are blank.
    """
    planes = views.planes_of(images.shape[-1])
    blank = sum(not images[row][..., :planes].any() for row in rows)
    if not blank:
        return []
    longer = (
        ""
        if view == "cube"
        else "train the U-Net longer (config.segment.steps), use the masks it learns from "
        "(config.segment.enabled=false), or "
    )
    remedy = (
        "if the data has lung masks, they leave nothing of these (segment/examples.png): "
        f"{longer}use none (config.items.segmented=false)"
    )
    if blank == len(rows):
        raise ValueError(f"{path}: all {blank} training images are blank (0); {remedy}")
    return [f"{blank} of {len(rows)} training images are blank (0); {remedy}"]


def _fit(
    config: Config, workdir: Path, out: Path, profile: Path | None
) -> dict[str, int | str | float]:
    """Train on the inputs in `out`, from its newest checkpoint; all processes.

    Returns:
      The summary.
    """
    store = artifacts.open_items(workdir)
    data = artifacts.labelled(store, workdir)
    rows = artifacts.training_rows(config, store, data)
    scale = artifacts.load_property_scale(out)
    arrays = training_arrays(config, store, data, rows, scale)
    images = np.asarray(artifacts.network_inputs(out))
    c, channels = config.train, images.shape[-1]
    mesh = devices.data_mesh()
    per_epoch = batches.steps_per_epoch(len(rows), c.batch)
    steps = per_epoch * epochs(config, items=len(rows), channels=channels)
    model = recipe.build_model(config, classes=data.classes, properties=len(scale))
    optimizer, rate = recipe.optimizer(config, steps=steps, steps_per_epoch=per_epoch)
    validate = make_validation(model, data, images, planes=config.model.planes)
    best = _best_keeper(config, out, per_epoch, validates=validate is not None)

    def fresh() -> TrainState:
        return networks.fresh_state(config, model, optimizer, channels=channels, mesh=mesh)

    checkpoints = Checkpoints(out / "checkpoints")
    state = begin(fresh, checkpoints, mesh=mesh)
    start = int(state.step)
    count = sum(p.size for p in jax.tree.leaves(state.params))
    print(f"  {config.model.name}: {count:,} parameters, {len(rows)} training items")
    if start:
        print(f"  resumed at step {start} of {steps}")
    shown: dict[str, Images] = {name: array for name, array in arrays.items() if name != "place"}
    shown["image"] = Selected(images, rows[arrays["place"]])
    loss = recipe.hash_loss(model, config, steps=steps, classes=data.classes)
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    made = make_train_step(loss, optimizer, key=key, mesh=mesh)
    with (
        open_log(out, step=start) as log,
        profiled(made, profile, start=start, steps=steps) as train_step,
    ):
        state = loop.fit(
            state,
            train_step,
            draw_batches(config, shown, start=start, steps=steps),
            steps=steps,
            steps_per_epoch=per_epoch,
            mesh=mesh,
            log=log,
            checkpoints=checkpoints,
            checkpoint_every=c.checkpoint_every * per_epoch,
            evaluate=validate,
            evaluate_every=c.eval_every * per_epoch,
            best=best,
            rate=rate,
        )
    checkpoints.close()
    kept, variables = int(state.step), devices.local(state.variables)
    if best is not None:
        best.close()
        kept = best.step
        _, variables = networks.load_network(config, out, classes=data.classes, channels=channels)
        print(f"  kept step {kept}: validation {best.measure} {best.score:.3f}")
    return {
        "steps": int(state.step),
        "kept_step": kept,
        "parameters": count,
        "training_items": len(rows),
        "model": fingerprint(variables),
    }


def epochs(config: Config, *, items: int, channels: int) -> int:
    """Number of passes over so many training items, at least one.

    Args:
      channels: of the network's inputs.
    """
    t = config.train
    if not t.images:
        return t.epochs
    planes = views.planes_of(channels)
    shown = ({"channels": 1} | sight.VIEWS).get(config.model.planes, planes)
    if shown > 1 and t.planes:
        shown = min(shown, t.planes)
    return max(1, round(t.images / (items * shown)))


def _best_keeper(config: Config, out: Path, per_epoch: int, *, validates: bool) -> Best | None:
    """Keeper of the best weights on the validation items; None if the last ones are kept.

    Raises:
      ConfigError: the best weights are wanted, but there are no validation items.
    """
    c = config.train
    if c.keep != "best":
        return None
    if not validates:
        raise ConfigError(
            "config.train.keep = 'best': there is no validation part to choose by; set "
            "config.split.val_share (or val_subsets), or config.train.keep to 'last'"
        )
    return Best(out / "best", c.monitor, patience=c.patience * per_epoch)


def draw_batches(
    config: Config, arrays: Mapping[str, Images], *, start: int, steps: int
) -> Iterator[dict[str, np.ndarray]]:
    """This process's part of each batch of the training items, from step `start` on.

    Classes are balanced by `config.train.balance_power`; the last `config.train.clean_share` of
    the steps are without augmentation.
    """
    c = config.train
    return batches.batches(
        arrays,
        weights=batches.draw_weights(np.asarray(arrays["label"]), c.balance_power),
        batch=c.batch,
        seed=config.seed,
        start=start,
        steps=steps,
        process=(jax.process_index(), jax.process_count()),
        augmented=round(steps * (1.0 - c.clean_share)),
    )


def make_validation(
    model: nn.Module, data: Labelled, images: np.ndarray, *, planes: str = "channels"
) -> Validate | None:
    """Scores of a train state on the validation items; None if there are none.

    The scores are `accuracy` of FC3, `map_macro` of validation items that search the training items
    of the archive by the Hamming distance of H at 0.5, and `distinct_codes` of these. They are what
    an evaluation says of `latent` codes without views if the validation items are its queries, so
    they do not depend on fields that need no new training. Test items are never encoded.
    """
    query, gallery = data.on("val"), data.archived(("train",))
    if not len(query):
        return None
    labels = data.labels[query]

    def validate(state: TrainState) -> dict[str, float]:
        variables = devices.local(state.variables)
        encode = encoder.make_encoder(model, variables, planes=planes, quiet=True)
        q, g = (encode(Selected(images, rows)) for rows in (query, gallery))
        found = []
        for part in metrics.chunks(len(query), len(gallery)):
            distances = hamming_distances(q.h[part] >= 0.5, g.h >= 0.5).astype(np.float64)
            same = labels[part, None] == data.labels[gallery][None]
            found.append(metrics.average_precision(metrics.find(metrics.rank(distances), same)))
        score = metrics.macro(np.concatenate(found), labels)
        return agreed(
            {
                "accuracy": float(np.mean(q.fc3.argmax(1) == labels)),
                "map_macro": float("nan") if score is None else score,
                "distinct_codes": float(len(np.unique(np.packbits(g.h >= 0.5, axis=1), axis=0))),
            }
        )

    return validate
