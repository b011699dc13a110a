"""Lung masks compared with a chest whose lungs are known."""

import numpy as np
import pytest
import SimpleITK as sitk
from ct.trees import chest_image, in_ellipsoid, in_lungs
from hypothesis import given, settings
from hypothesis import strategies as st

from inres.ct import lungs, scan
from inres.ct.scan import Volume

SPACING = 2.5


def grown(nodules=(), **kwargs):
    """A chest on cubic voxels: the volume, and the world positions of its voxels."""
    image, _ = chest_image(nodules, **kwargs)
    volume = Volume(
        hu=sitk.GetArrayFromImage(image),
        spacing_mm=image.GetSpacing(),
        origin_mm=image.GetOrigin(),
        direction=np.array(image.GetDirection()).reshape(3, 3),
    )
    volume = scan.resample(scan.canonical(volume), SPACING)
    return volume, volume.index_to_world(np.moveaxis(np.indices(volume.hu.shape), 0, -1))


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.fixture(scope="module")
def chest():
    return grown()


def test_finds_both_lungs_and_nothing_else(chest):
    volume, world = chest
    mask = lungs.threshold_mask(volume.hu, SPACING)
    assert mask.dtype == bool
    assert mask.shape == volume.hu.shape
    assert dice(mask, in_lungs(world)) > 0.96
    x, y, _ = np.moveaxis(world, -1, 0)
    assert not mask[(np.abs(x) < 8) & (np.abs(y - 5) < 8)].any(), "the trachea stays outside"
    assert not mask[y > 105].any(), "the table stays outside"


@pytest.mark.parametrize("padding", [-2000, -3024])
def test_padding_outside_the_field_of_view_is_no_lung(chest, padding):
    volume, world = chest
    hu = volume.hu.copy()
    x, y, _ = np.moveaxis(world, -1, 0)
    hu[x**2 + (y - 10) ** 2 > 145**2] = padding  # cuts the body's sides off
    assert dice(lungs.threshold_mask(hu, SPACING), in_lungs(world)) > 0.96


def test_body_that_fills_the_image_width(chest):
    volume, world = chest
    cut = np.abs(world[0, 0, :, 0]) < 125  # the wall reaches the lateral borders
    mask = lungs.threshold_mask(volume.hu[..., cut], SPACING)
    assert dice(mask, in_lungs(world)[..., cut]) > 0.96


def test_scan_that_ends_within_the_lungs(chest):
    volume, world = chest
    part = np.abs(world[:, 0, 0, 2]) < 50
    mask = lungs.threshold_mask(volume.hu[part], SPACING)
    assert dice(mask, in_lungs(world)[part]) > 0.96


def test_lungs_that_touch_each_other(chest):
    volume, world = chest
    hu = volume.hu.copy()
    bridge = in_ellipsoid(world, (0, -40, 0), (40, 4, 30))
    hu[bridge] = -860
    mask = lungs.threshold_mask(hu, SPACING)
    assert dice(mask, in_lungs(world) | bridge) > 0.95
    heart = in_ellipsoid(world, (0, 0, 0), (10, 25, 40)) & ~in_lungs(world)
    assert not mask[heart].any()
    assert not lungs.repair(mask, SPACING)[heart].any()


def test_vessels_and_inner_nodules_are_filled():
    nodule = (-65, 0, 0, 25)
    volume, world = grown([nodule])
    mask = lungs.threshold_mask(volume.hu, SPACING)
    assert mask[in_ellipsoid(world, nodule[:3], (12,) * 3)].all()


def test_gas_below_is_not_a_lung(chest):
    volume, world = chest
    hu = volume.hu.copy()
    hu[in_ellipsoid(world, (40, -10, -95), (50, 40, 6))] = -1000
    hu[:, :, world[0, 0, :, 0] < 0] = 40  # one lung only
    mask = lungs.threshold_mask(hu, SPACING)
    assert dice(mask, in_lungs(world) & (world[..., 0] > 0)) > 0.95


def test_nothing_to_find():
    for value in (-1000, 40):
        hu = np.full((20, 60, 60), value, np.int16)
        mask = lungs.threshold_mask(hu, SPACING)
        assert not mask.any()
        assert not lungs.repair(mask, SPACING).any()


# Repair


@pytest.mark.parametrize("diameter", [8, 14, 20])
@pytest.mark.parametrize("side", [-1, 1])
def test_juxtapleural_nodules_survive(diameter, side):
    """A solid nodule on the chest wall, with its outer pole on the pleura."""
    x = side * (65 + 45 - diameter / 2)
    nodule = (x, 0, 0, diameter)
    volume, world = grown([nodule])
    before = lungs.threshold_mask(volume.hu, SPACING)
    after = lungs.repair(before, SPACING)
    center = volume.world_to_index(np.array(nodule[:3]))
    radius = diameter / 2 / SPACING
    lost = lungs.coverage(before, center, radius)
    kept = lungs.coverage(after, center, radius)
    assert kept > 0.9
    assert kept > lost
    assert dice(after, in_lungs(world)) > 0.93
    heart = in_ellipsoid(world, (0, 0, 0), (10, 40, 60)) & ~in_lungs(world)
    assert not after[heart].any()


def test_repair_keeps_the_mask_and_adds_little(chest):
    volume, _ = chest
    mask = lungs.threshold_mask(volume.hu, SPACING)
    after = lungs.repair(mask, SPACING)
    assert (after & mask).sum() == mask.sum()
    assert after.sum() < 1.15 * mask.sum()


def test_repair_does_not_swallow_a_large_notch():
    """A heart, whose dent in the lung is far larger than a nodule, stays outside."""
    y, x = np.mgrid[:120, :160]
    lung = (x - 40) ** 2 / 35**2 + (y - 60) ** 2 / 50**2 <= 1
    other = (x - 120) ** 2 / 35**2 + (y - 60) ** 2 / 50**2 <= 1
    heart = (x - 85) ** 2 + (y - 60) ** 2 <= 32**2
    mask = np.stack([(lung | other) & ~heart] * 3)
    after = lungs.repair(mask, 1.0)
    assert (after[1] & heart).sum() < 0.2 * heart.sum()


def test_repair_at_the_image_border():
    mask = np.zeros((3, 60, 80), bool)
    mask[:, :40, :35] = True
    mask[:, :40, 45:] = True
    after = lungs.repair(mask, 1.0, margin_mm=0)
    assert after.shape == mask.shape
    np.testing.assert_array_equal(after, mask)


# Coverage


@pytest.mark.parametrize(
    "part",
    [
        np.s_[:, :, 22:],
        np.s_[:, :, :-22],
        np.s_[:, 62:],
        np.s_[:, :-38],
        np.s_[:, :, 22:-22],
        np.s_[:, 62:-38, 22:-22],
    ],
    ids=["right", "left", "front", "back", "both sides", "all sides"],
)
def test_lungs_that_the_edge_of_the_image_cuts_are_kept(chest, part):
    volume, world = chest
    cut = in_lungs(world)[part]
    edges = cut[:, 0].any() + cut[:, -1].any() + cut[..., 0].any() + cut[..., -1].any()
    assert edges, "the edge cuts nothing"
    mask = lungs.threshold_mask(np.ascontiguousarray(volume.hu[part]), SPACING)
    assert dice(mask, cut) > 0.95


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.floats(3.0, 12.0)] * 3), st.floats(0.0, 9.0), st.integers(0, 14))
def test_coverage_by_enumeration(center, radius, edge):
    mask = np.zeros((16, 16, 16), bool)
    mask[:, :, edge:] = True
    inside = total = 0
    span = range(-12, 30)
    grid = np.stack(np.meshgrid(span, span, span, indexing="ij"), -1).reshape(-1, 3)
    square = ((grid - center) ** 2).sum(1)
    nearest = square.min()  # a sphere between the voxels holds the one next to its centre
    for p in grid[square <= max(radius**2, nearest)]:
        total += 1
        inside += bool(np.all((p >= 0) & (p < 16)) and mask[tuple(p)])
    assert lungs.coverage(mask, center, radius) == pytest.approx(inside / total)


def test_labels_of_luna16():
    labels = np.array([0, 1, 2, 3, 4, 5], np.int16)
    assert lungs.lung_labels(labels).tolist() == [False, False, False, True, True, False]


def test_real_chest(real_data):
    spacing = 2.0  # coarser, the wall between trachea and lung is lost
    volume = scan.read_scan(real_data("luna16_mini") / "subset0" / "lung1.mhd")
    volume = scan.resample(scan.canonical(volume), spacing)
    before = lungs.threshold_mask(volume.hu, spacing)
    after = lungs.repair(before, spacing)
    litres = before.sum() * spacing**3 / 1e6
    assert 2.5 < litres < 3.2
    assert after.sum() < 1.12 * before.sum()
    center = volume.world_to_index(np.array([-21.8586, -120.5358, -611.4964]))
    assert lungs.coverage(after, center, 13.75 / 2 / spacing) == 1.0
    z, y, x = volume.world_to_index(np.array([10.0, -139.0, -611.5])).round().astype(int)
    assert volume.hu[z, y, x] < -950, "the trachea is here"
    assert not after[z, y, x]
