"""Batches as a function of seed and step, so that training can resume at any step."""

import functools
from collections.abc import Iterator, Mapping

import numpy as np

from inres.config import ConfigError
from inres.system.rows import Images


def steps_per_epoch(items: int, batch: int, *, section: str = "train") -> int:
    """Number of full batches in one pass over `items` items.

    Raises:
      ConfigError: there are fewer items than one batch holds; names the `batch` of the config
        section `section`.
    """
    if items < batch:
        raise ConfigError(
            f"config.{section}.batch = {batch}: must not exceed the {items} training items"
        )
    return items // batch


def draw_weights(labels: np.ndarray, power: float) -> np.ndarray:
    """Probability of drawing each item, [N]: proportional to class frequency ** -power."""
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    weights = counts[inverse].astype(np.float64) ** -power
    return weights / weights.sum()


def epoch_order(weights: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """Item indices of one epoch, int [N], shuffled: item i occurs N w_i times, rounded up or down.

    This is systematic sampling, so equal weights give a permutation of the items.
    """
    rng = np.random.default_rng([seed, epoch])
    n = len(weights)
    order = rng.permutation(n)
    edges = np.cumsum(weights[order]) * n
    picks = np.searchsorted(edges, np.arange(n) + rng.random() * (1 - 1e-9), side="right")
    return rng.permutation(order[np.minimum(picks, n - 1)])


def batches(
    arrays: Mapping[str, Images],
    *,
    weights: np.ndarray,
    batch: int,
    seed: int,
    start: int,
    steps: int,
    process: tuple[int, int] = (0, 1),
    augmented: int | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Batches of the steps from `start` to `steps - 1`: dicts of [batch / processes, ...] arrays.

    Args:
      arrays: fields with a common first axis of N items; only the rows of a batch are read.
      weights: [N], probability of drawing each item, as from `draw_weights`.
      batch: size of the global batch.
      process: (index, count) of processes; this one loads its part of each batch.
      augmented: adds a field `augment`, bool [B], which is true before this step; None: no such
        field.

    Raises:
      ConfigError: the batch cannot be split evenly over the processes, or has too few items.
    """
    n = len(weights)
    per_epoch = steps_per_epoch(n, batch)
    index, count = process
    if batch % count:
        raise ConfigError(f"config.train.batch = {batch}: must be divisible by {count} processes")
    part = slice(index * batch // count, (index + 1) * batch // count)

    @functools.lru_cache(maxsize=1)
    def order(epoch: int) -> np.ndarray:
        return epoch_order(weights, seed=seed, epoch=epoch)

    def load(step: int) -> dict[str, np.ndarray]:
        epoch, i = divmod(step, per_epoch)
        chosen = order(epoch)[i * batch : (i + 1) * batch][part]
        loaded = {name: np.asarray(array[chosen]) for name, array in arrays.items()}
        if augmented is not None:
            loaded["augment"] = np.full(len(chosen), step < augmented)
        return loaded

    if start >= steps:
        return iter(())
    import grain.python as grain  # slow to import, and only training needs it

    source = grain.MapDataset.range(start, steps).map(load)
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=8)
    return iter(source.to_iter_dataset(options))
