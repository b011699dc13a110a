"""One process of a training with the default losses; run by test_loop."""

import sys
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np

from inres.config import Config, Hash, Items, Train
from inres.learning import loop, losses, objective, recipe
from inres.learning.checkpoints import Checkpoints
from inres.learning.devices import data_mesh
from inres.learning.logs import MetricLog
from inres.learning.step import make_train_step
from inres.learning.train_state import begin, init_state
from inres.models.head import HashHead
from inres.pipeline.train import draw_batches

CLASSES, ITEMS, STEPS = 4, 40, 6
CONFIG = Config(items=Items(size_px=16, neighbours=1), hash=Hash(bits=16), train=Train(batch=8))


class Network(nn.Module):
    """A network that compiles quickly; its batch norm shows whether it sees the global batch."""

    head: HashHead

    @nn.compact
    def __call__(self, x, seen=None, *, train):
        x = nn.Conv(8, (3, 3), strides=2, use_bias=False)(x)
        return self.head(nn.relu(nn.BatchNorm(not train)(x)), seen, train=train)


def train(root, steps):
    """The state after `steps` of `STEPS` steps, resumed from a checkpoint under `root` if any."""
    rng = np.random.default_rng(0)
    labels = np.arange(ITEMS, dtype=np.int32) % CLASSES
    diameters = np.where(labels > 0, 4.0 * labels + rng.random(ITEMS), 0).astype(np.float32)
    arrays = {
        "image": rng.integers(0, 256, (ITEMS, 16, 16, 6), np.uint8),
        "label": labels,
        "item": np.arange(ITEMS, dtype=np.int32),
        "diameter_mm": diameters,
        "code": objective.target_codes(CONFIG, losses.Truth(labels, diameters), classes=CLASSES),
    }
    mesh = data_mesh()
    model = Network(HashHead(CLASSES, CONFIG.hash.bits, fc1=8))
    optimizer, _ = recipe.optimizer(CONFIG, steps=STEPS, steps_per_epoch=5)
    key = jax.random.key(0)

    def fresh():
        image = np.zeros((1, 16, 16, 6), np.float32)
        variables = jax.jit(model.init, static_argnames="train")(key, image, train=False)
        return init_state(variables, optimizer, mesh=mesh)

    checkpoints = Checkpoints(root / "checkpoints")
    state = begin(fresh, checkpoints, mesh=mesh)
    start = int(state.step)
    loss = recipe.hash_loss(model, CONFIG, steps=STEPS, classes=CLASSES)
    with MetricLog(root / f"process{jax.process_index()}", step=start) as log:
        state = loop.fit(
            state,
            make_train_step(loss, optimizer, key=key, mesh=mesh),
            draw_batches(CONFIG, arrays, start=start, steps=STEPS),
            steps=steps,
            steps_per_epoch=5,
            mesh=mesh,
            log=log,
            checkpoints=checkpoints,
            checkpoint_every=3,
        )
    checkpoints.close()
    return state


def main():
    processes, rank, port, root, steps = sys.argv[1:]
    jax.distributed.initialize(f"localhost:{port}", int(processes), int(rank))
    state = train(Path(root), int(steps))
    print(f"step {int(state.step)} on {jax.device_count()} devices")
    jax.distributed.shutdown()


if __name__ == "__main__":
    main()
