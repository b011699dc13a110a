"""Stage `segment`: train the U-Net and segment every item (paper, section 3.1, Fig. 7)."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np

from inres.config import Config
from inres.data import audit, batches, item_store, views
from inres.encoding.in_batches import Segmenter
from inres.figures import lungs, panels, style
from inres.learning import devices, loop, recipe
from inres.learning.checkpoints import Checkpoints
from inres.learning.logs import open_log
from inres.learning.step import make_train_step
from inres.learning.train_state import TrainState, begin, init_state, initial_variables
from inres.pipeline import artifacts, networks, stages
from inres.pipeline.inputs import stage_inputs
from inres.system import files
from inres.system.progress import progress
from inres.system.rows import Images, Rows, open_images, rows_file
from inres.system.together import each_together, in_turn, together

_EXAMPLES = 6
"""Held-out slices in the figure."""
_BLOCK = 32
"""Slices that are segmented at once: an even number, for the audit has two of each nodule."""


def segment_items(config: Config, workdir: Path) -> None:
    """Write `<workdir>/segment` unless it is complete.

    Results: masks.rows (uint8 [N, S, S]), metrics.json (Dice and IoU on held-out slices),
    audit.csv, checkpoints, logs and examples.png. Without masks to learn from, the stage is empty.

    Raises:
      TrainingError: the loss is not finite.
    """
    inputs = stage_inputs(config, "segment")
    inputs["upstream.split"] = stages.done(workdir, "split")
    stages.run_stage(workdir, "segment", inputs, lambda out: _segment(config, workdir, out))


def _segment(config: Config, workdir: Path, out: Path) -> None:
    store = artifacts.open_items(workdir)
    if not config.segment.enabled or store.lung_masks is None:
        why = "switched off" if store.lung_masks is not None else "no masks in this data"
        print(f"  segment: {why}; images are used as prepared")
        return
    side = artifacts.sides(workdir, len(store.items))
    training, held_out = np.flatnonzero(side == "train"), np.flatnonzero(side == "test")
    c = config.segment
    devices.require_divisible(c.batch, devices.data_mesh(), "config.segment.batch")
    batches.steps_per_epoch(len(training), c.batch, section="segment")  # refuses too few
    write_pairs(store, training, c.size_px, _pair_files(out))
    parameters = together(_train, config, out)
    blocks = each_together(segmented, config, out, workdir / "prepare" / "slices")
    write_masks(blocks, store.slices.shape, out)
    masks = Rows(out / artifacts.MASKS, artifacts.SEGMENT_AGAIN)
    dice, iou = overlap(masks, store.lung_masks, held_out)
    if (workdir / "prepare" / "audit.csv").is_file():
        spacing = artifacts.slice_spacing_mm(config)
        _audit(config, store, masks, workdir / "prepare", out, spacing)
    _draw_examples(store, masks, held_out, out, pdf=config.pdf)
    metrics = {
        "dice": float(dice.mean()),
        "iou": float(iou.mean()),
        "dice_median": float(np.median(dice)),
        "dice_lowest": float(dice.min()),
        "slices": len(dice),
        "training_slices": len(training),
        "parameters": parameters,
    }
    files.write_json(out / "metrics.json", metrics)
    for path in _pair_files(out).values():
        path.unlink()
    print(f"  Dice {metrics['dice']:.4f}, IoU {metrics['iou']:.4f} on {len(dice)} held-out slices")


def _train(config: Config, out: Path) -> int:
    """Train the U-Net on the pairs in `out`, from its newest checkpoint there; all processes.

    Returns:
      The number of parameters.
    """
    c = config.segment
    mesh = devices.data_mesh()
    pairs = open_pairs(_pair_files(out))
    count = len(pairs["image"])
    per_epoch = batches.steps_per_epoch(count, c.batch, section="segment")
    model = recipe.build_unet(c, precision=config.train.precision)
    optimizer, rate = recipe.unet_optimizer(c)
    key = jax.random.key(config.seed)

    def fresh() -> TrainState:
        variables = _fresh_variables(model, key, c.size_px)
        return init_state(variables, optimizer, mesh=mesh)

    checkpoints = Checkpoints(out / "checkpoints")
    state = begin(fresh, checkpoints, mesh=mesh)
    start = int(state.step)
    step = make_train_step(
        recipe.unet_loss(model, c), optimizer, key=jax.random.fold_in(key, 1), mesh=mesh
    )
    source = batches.batches(
        pairs,
        weights=np.full(count, 1.0 / count),
        batch=c.batch,
        seed=config.seed,
        start=start,
        steps=c.steps,
        process=(jax.process_index(), jax.process_count()),
    )
    with open_log(out, step=start) as log:
        state = loop.fit(
            state,
            step,
            source,
            steps=c.steps,
            steps_per_epoch=per_epoch,
            mesh=mesh,
            log=log,
            checkpoints=checkpoints,
            checkpoint_every=max(1, c.steps // 4),
            rate=rate,
            name="train U-Net",
        )
    checkpoints.close()
    return sum(p.size for p in jax.tree.leaves(state.params))


def _fresh_variables(model: nn.Module, key: jax.Array, size: int) -> dict:
    return initial_variables(model, key, np.zeros((1, size, size, 1), np.float32))


def _pair_files(out: Path) -> dict[str, Path]:
    """Files of the U-Net's training pairs; removed when the stage is complete."""
    return {name: out / f"pairs_{name}.npy" for name in ("image", "mask")}


def write_pairs(
    store: item_store.ItemStore, rows: np.ndarray, size: int, paths: Mapping[str, Path]
) -> dict[str, np.ndarray]:
    """Write the slices `rows` at the U-Net's size unless they are there; opens them.

    Args:
      paths: a file for `image` and one for `mask` (0 or 1), uint8 [N, size, size] each.
    """
    assert store.lung_masks is not None
    if not all(path.is_file() for path in paths.values()):
        shape = (len(rows), size, size)
        with (
            files.array_file(paths["image"], shape) as images,
            files.array_file(paths["mask"], shape) as masks,
        ):
            for row in progress(rows, name="U-Net training pairs", unit="slice"):
                mask = views.resize(np.asarray(store.lung_masks[row]) * np.uint8(255), size) > 127
                images.write(views.resize(np.asarray(store.slices[row]), size).tobytes())
                masks.write(mask.astype(np.uint8).tobytes())
    return open_pairs(paths)


def open_pairs(paths: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """What `write_pairs` wrote, memory-mapped."""
    return {name: np.load(path, mmap_mode="r") for name, path in paths.items()}


def segmented(config: Config, out: Path, images: Path) -> Iterator[np.ndarray]:
    """Masks of slices in blocks, as `in_blocks`, by the U-Net trained in `out`.

    Args:
      images: the file of the slices, uint8 [N, S, S], without its ending.

    Raises:
      FileNotFoundError: there is no such file.
    """
    slices = open_images(images, item_store.AGAIN)
    if slices is None:
        raise FileNotFoundError(f"{images}.rows: no such file; {item_store.AGAIN}")
    return in_blocks(networks.unet_segmenter(config, networks.unet_variables(out)), slices)


def in_blocks(segment: Segmenter, slices: Images) -> Iterator[np.ndarray]:
    """Masks of slices, uint8 [n, S, S], `_BLOCK` at a time.

    Inside `together` the processes share the blocks.
    """

    def block(start: int) -> np.ndarray:
        return segment(np.asarray(slices[start : start + _BLOCK]))

    starts = range(0, len(slices), _BLOCK)
    found = in_turn(block, starts)
    return iter(progress(found, name="segment slices", total=len(starts), unit="batch"))


def write_masks(masks: Iterable[np.ndarray], shape: tuple[int, ...], out: Path) -> None:
    """Write the masks of all items, given in blocks, to masks.rows, uint8 [N, S, S].

    Nothing is asked of `masks` if the file is there.
    """
    if (out / artifacts.MASKS).is_file():
        return
    with rows_file(out / artifacts.MASKS, shape) as file:
        for block in masks:
            file.add(block)


def overlap(masks: Images, truth: Images, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dice and IoU, float64 [n] each, of the slices `rows`; two empty masks count as equal."""
    dice, iou = [], []
    for row in rows:
        a, b = np.asarray(masks[row]) > 0, np.asarray(truth[row]) > 0
        inter, union = np.sum(a & b), np.sum(a | b)
        dice.append(2.0 * inter / (a.sum() + b.sum()) if union else 1.0)
        iou.append(inter / union if union else 1.0)
    return np.array(dice), np.array(iou)


def _audit(
    config: Config,
    store: item_store.ItemStore,
    masks: Images,
    prepared: Path,
    out: Path,
    spacing_mm: float,
) -> None:
    """Add the share of each nodule's sphere that the U-Net keeps to the audit of `prepare`."""
    rows = files.read_csv(prepared / "audit.csv", ("scan", "nodule", "diameter_mm"))
    central = [i for i, item in enumerate(store.items) if item.nodule and not item.offset_mm]
    index = {store.items[i].nodule: i for i in central}
    step = _BLOCK // 2
    starts = range(0, len(rows), step)
    planes = each_together(segmented, config, out, prepared / "audit_slices")
    for first, outer in zip(starts, planes, strict=True):
        for n, row in enumerate(rows[first : first + step]):
            item = index[row["nodule"]]
            three = np.stack([outer[2 * n], np.asarray(masks[item]), outer[2 * n + 1]])
            point = (store.items[item].row, store.items[item].col)
            radius = float(row["diameter_mm"]) / 2.0 / spacing_mm
            share = audit.sphere_coverage(three, point=point, radius_px=radius)
            row["unet"] = f"{share:.4f}"
    files.write_csv(out / "audit.csv", list(rows[0]) if rows else ["scan"], rows)


def _draw_examples(
    store: item_store.ItemStore, masks: Images, rows: np.ndarray, out: Path, *, pdf: bool
) -> None:
    """Draw some of the slices `rows` with both masks."""
    assert store.lung_masks is not None
    rows = rows[np.linspace(0, len(rows) - 1, min(_EXAMPLES, len(rows))).astype(int)]
    figure = lungs.mask_examples(
        [store.slices[row] for row in rows],
        [store.lung_masks[row] for row in rows],
        [masks[row] for row in rows],
        titles=[panels.short(store.items[row].scan) for row in rows],
    )
    style.save(figure, out / "examples", pdf=pdf)
