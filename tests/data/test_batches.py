import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inres.config import ConfigError
from inres.data import batches

ARRAYS = {"image": np.arange(50)[:, None] * np.ones((1, 3), int), "label": np.arange(50)}


def take(start, steps, **kwargs):
    weights = np.full(50, 1 / 50)
    options = {"weights": weights, "batch": 8, "seed": 3, "start": start, "steps": steps, **kwargs}
    return list(batches.batches(ARRAYS, **options))


@given(st.integers(0, 2**31), st.integers(0, 100))
def test_equal_weights_give_every_item_once(seed, epoch):
    order = batches.epoch_order(np.full(37, 1 / 37), seed=seed, epoch=epoch)
    assert sorted(order) == list(range(37))


@given(st.integers(0, 2**31))
def test_items_are_drawn_by_weight_up_to_one(seed):
    labels = np.repeat([0, 1, 2], [80, 15, 5])
    weights = batches.draw_weights(labels, 1.0)
    counts = np.bincount(batches.epoch_order(weights, seed=seed, epoch=0), minlength=100)
    assert np.all(np.abs(counts - 100 * weights) < 1 + 1e-6)
    by_class = np.bincount(labels, weights=weights)
    np.testing.assert_allclose(by_class, 1 / 3)
    np.testing.assert_allclose(batches.draw_weights(labels, 0.0), 0.01)


def test_a_batch_depends_on_seed_and_step_alone():
    whole = take(0, 20)
    assert len(whole) == 20
    for later, want in zip(take(13, 20), whole[13:], strict=True):
        np.testing.assert_array_equal(later["label"], want["label"])
    other = take(0, 20, seed=4)
    assert any((a["label"] != b["label"]).any() for a, b in zip(whole, other, strict=True))
    for batch in whole:
        np.testing.assert_array_equal(batch["image"][:, 0], batch["label"])
    first_epoch = np.concatenate([b["label"] for b in whole[:6]])
    assert len(set(first_epoch)) == 48
    assert take(20, 20) == []


def test_processes_load_parts_of_the_same_batch():
    parts = [take(0, 7, process=(i, 2)) for i in range(2)]
    for a, b, want in zip(*parts, take(0, 7), strict=True):
        np.testing.assert_array_equal(np.concatenate([a["label"], b["label"]]), want["label"])


def test_the_last_steps_are_not_augmented():
    flags = [batch["augment"] for batch in take(2, 7, augmented=5)]
    assert [bool(f.all()) for f in flags] == [bool(f.any()) for f in flags]
    assert [bool(f[0]) for f in flags] == [True, True, True, False, False]


def test_too_few_items_are_named():
    with pytest.raises(ConfigError, match=r"train\.batch = 64.*50"):
        take(0, 1, batch=64)
