"""Train the U-Net on (slice, lung mask) pairs and segment every item (paper, section 3.1, Fig. 7).

    python -m experiments.segment --config=experiments/configs/phantom.py --workdir=runs/phantom

Leaves <workdir>/segment: masks.npy, metrics.json (Dice and IoU on held-out slices), audit.csv,
checkpoints, logs, examples.png. Left out where the data has no masks.
"""

from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from experiments import common, split
from inres import sources
from inres.config import Config
from inres.data import audit, batches, items, views
from inres.encoding import encode
from inres.figures import lungs, panels, style
from inres.learning import devices, loop, recipe
from inres.learning.checkpoints import Checkpoints
from inres.learning.logs import MetricLog
from inres.learning.step import make_train_step
from inres.learning.train_state import TrainState, begin, init_state
from inres.pipeline import stages
from inres.system import files
from inres.system.progress import progress


def run(config: Config, workdir: Path) -> None:
    """Train and apply the U-Net, unless that was done."""
    inputs = {
        "segment": common.part(config.segment),
        "seed": config.seed,
        "upstream": {"split": stages.done(workdir, "split")},
    }
    stages.run(workdir, "segment", inputs, lambda out: _segment(config, workdir, out))


def _segment(config: Config, workdir: Path, out: Path) -> None:
    store = items.open_store(workdir / "prepare")
    if not config.segment.enabled or store.lung_masks is None:
        why = "switched off" if store.lung_masks is not None else "no masks in this data"
        print(f"  segment: {why}; images are taken as they are prepared")
        return
    c = config.segment
    mesh = devices.data_mesh()
    devices.require_divisible(c.batch, mesh, "config.segment.batch")
    side = split.sides(workdir)
    train = np.flatnonzero(side == "train")
    per_epoch = batches.steps_per_epoch(len(train), c.batch, section="segment")
    small = {name: out / f"pairs_{name}.npy" for name in ("image", "mask")}
    pairs = _pairs(store, train, c.size_px, small)

    model = recipe.build_unet(c)
    optimizer, rate = recipe.unet_optimizer(c)
    key = jax.random.key(config.seed)

    def fresh() -> TrainState:
        image = np.zeros((1, c.size_px, c.size_px, 1), np.float32)
        variables = dict(jax.jit(model.init)(key, image))
        return init_state(variables, optimizer, mesh=mesh)

    checkpoints = Checkpoints(out / "checkpoints")
    state = begin(fresh, checkpoints, mesh=mesh)
    start = int(state.step)
    weights = np.full(len(train), 1.0 / len(train))
    with MetricLog(out, step=start) as log:
        state = loop.fit(
            state,
            make_train_step(
                recipe.unet_loss(model, c), optimizer, key=jax.random.fold_in(key, 1), mesh=mesh
            ),
            batches.batches(
                pairs,
                weights=weights,
                batch=c.batch,
                seed=config.seed,
                start=start,
                steps=c.steps,
                process=(jax.process_index(), jax.process_count()),
            ),
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

    spacing = spacing_mm(config)
    segment = encode.make_segmenter(model, state.variables, size=c.size_px, spacing_mm=spacing)
    masks = _apply(segment, store, out)
    dice, iou = overlap(masks, store.lung_masks, np.flatnonzero(side == "test"))
    metrics = {
        "dice": float(dice.mean()),
        "iou": float(iou.mean()),
        "dice_median": float(np.median(dice)),
        "dice_lowest": float(dice.min()),
        "slices": len(dice),
        "training_slices": len(train),
        "parameters": sum(p.size for p in jax.tree.leaves(state.params)),
    }
    if (workdir / "prepare" / "audit.csv").is_file():
        _audit(segment, store, masks, workdir / "prepare", out, spacing)
    _examples(store, masks, np.flatnonzero(side == "test"), out, pdf=config.pdf)
    files.write_json(out / "metrics.json", metrics)
    for path in small.values():
        path.unlink()
    print(f"  Dice {metrics['dice']:.4f}, IoU {metrics['iou']:.4f} on {len(dice)} held-out slices")


def _pairs(
    store: items.ItemStore, rows: np.ndarray, size: int, paths: Mapping[str, Path]
) -> dict[str, np.ndarray]:
    """Write the slices `rows` at the U-Net's size, unless they are there; open them memory-mapped.

    `paths` has a file for `image` and one for `mask` (0 or 1), uint8 [N, size, size] both.
    """
    assert store.lung_masks is not None
    if not all(path.is_file() for path in paths.values()):
        shape = (len(rows), size, size)
        with (
            files.array_file(paths["image"], shape) as images,
            files.array_file(paths["mask"], shape) as masks,
        ):
            for row in progress(rows, name="resize pairs", unit="slice"):
                mask = views.resize(np.asarray(store.lung_masks[row]) * np.uint8(255), size) > 127
                images.write(views.resize(np.asarray(store.slices[row]), size).tobytes())
                masks.write(mask.astype(np.uint8).tobytes())
    return {name: np.load(path, mmap_mode="r") for name, path in paths.items()}


def _apply(segment, store: items.ItemStore, out: Path) -> np.ndarray:
    """Write masks.npy, uint8 [N, S, S], and open it memory-mapped."""
    path = out / "masks.npy"
    if not path.is_file():
        step = 32
        with files.array_file(path, store.slices.shape) as file:
            for i in progress(range(0, len(store.slices), step), name="segment", unit="batch"):
                file.write(segment(np.asarray(store.slices[i : i + step])).tobytes())
    return np.load(path, mmap_mode="r")


def overlap(
    masks: np.ndarray, truth: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Dice and IoU [n] of the slices `rows`; two empty masks agree."""
    dice, iou = [], []
    for row in rows:
        a, b = np.asarray(masks[row]) > 0, np.asarray(truth[row]) > 0
        inter, union = np.sum(a & b), np.sum(a | b)
        dice.append(2.0 * inter / (a.sum() + b.sum()) if union else 1.0)
        iou.append(inter / union if union else 1.0)
    return np.array(dice), np.array(iou)


def spacing_mm(config: Config) -> float:
    """Pixel side of the stored slices; 0 for a folder's images, where it is unknown."""
    return sources.get(config.data.kind).pixel_mm(config.items)


def _audit(
    segment, store: items.ItemStore, masks: np.ndarray, prepared: Path, out: Path, spacing: float
) -> None:
    """The preparation's audit, with the U-Net's share of each nodule's sphere added."""
    rows = files.read_csv(prepared / "audit.csv", ("scan", "nodule", "diameter_mm"))
    planes = np.load(prepared / "audit_slices.npy", mmap_mode="r")
    central = [i for i, item in enumerate(store.items) if item.nodule and not item.offset_mm]
    index = {store.items[i].nodule: i for i in central}
    some = 16
    for first in progress(range(0, len(rows), some), name="audit", unit="batch"):
        outer = segment(np.asarray(planes[2 * first : 2 * (first + some)]))
        for n, row in enumerate(rows[first : first + some]):
            item = index[row["nodule"]]
            three = np.stack([outer[2 * n], np.asarray(masks[item]), outer[2 * n + 1]])
            point = (store.items[item].row, store.items[item].col)
            radius = float(row["diameter_mm"]) / 2.0 / spacing
            share = audit.sphere_coverage(three, point=point, radius_px=radius)
            row["unet"] = f"{share:.4f}"
    files.write_csv(out / "audit.csv", list(rows[0]) if rows else ["scan"], rows)


def _examples(
    store: items.ItemStore, masks: np.ndarray, rows: np.ndarray, out: Path, *, pdf: bool
) -> None:
    """A picture of held-out slices with both masks."""
    assert store.lung_masks is not None
    rows = rows[np.linspace(0, len(rows) - 1, min(6, len(rows))).astype(int)]
    figure = lungs.mask_examples(
        [store.slices[row] for row in rows],
        [store.lung_masks[row] for row in rows],
        [masks[row] for row in rows],
        titles=[panels.short(store.items[row].scan) for row in rows],
    )
    style.save(figure, out / "examples", pdf=pdf)


if __name__ == "__main__":
    common.launch(run)
