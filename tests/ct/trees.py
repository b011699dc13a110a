"""A small chest made of ellipsoids, and LUNA16 trees of such chests."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

LUNGS = (((-65.0, 0.0, 0.0), (45.0, 70.0, 85.0)), ((65.0, 0.0, 0.0), (45.0, 70.0, 85.0)))
"""Centres and half axes, x, y, z in mm."""


def in_ellipsoid(world, center, axes):
    return (((world - np.array(center)) / np.array(axes)) ** 2).sum(-1) <= 1


def in_lungs(world):
    return np.any([in_ellipsoid(world, *lung) for lung in LUNGS], axis=0)


def in_trachea(world):
    x, y, z = np.moveaxis(world, -1, 0)
    return (x**2 + (y - 5) ** 2 <= 9**2) & (z > -10)


def chest_hu(world, nodules=(), seed=0):
    """HU at world positions [..., 3]; nodules are x, y, z, diameter."""
    x, y, _ = np.moveaxis(world, -1, 0)
    hu = np.full(world.shape[:-1], -1000.0)
    hu[(x / 150) ** 2 + (y / 105) ** 2 <= 1] = 40
    hu[(np.abs(x) < 158) & (np.abs(y - 122) < 12)] = -950  # foam of the table
    hu[(np.abs(x) < 158) & (np.abs(np.abs(y - 122) - 12) < 2)] = 0  # its shell
    lung = in_lungs(world)
    hu[lung] = -860
    hu[in_trachea(world)] = -1000
    for *center, diameter in nodules:
        hu[in_ellipsoid(world, center, (diameter / 2,) * 3)] = 40
    return hu + np.random.default_rng(seed).normal(0, 15, hu.shape)


def grid_world(size, spacing, origin, direction):
    """World positions [Z, Y, X, 3] of all voxels."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), -1)
    world = (index * np.array(spacing)) @ np.array(direction).reshape(3, 3).T + origin
    return world.transpose(2, 1, 0, 3)


def to_image(array, spacing, origin, direction):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(tuple(map(float, spacing)))
    image.SetOrigin(tuple(map(float, origin)))
    image.SetDirection(np.array(direction, float).ravel().tolist())
    return image


def chest_image(nodules=(), *, spacing=(3.2, 3.2, 2.5), flips=(1, 1, 1), seed=0):
    """The chest, 324 x 288 x 200 mm; axes with a flip of -1 run against the world's."""
    size = [round(mm / s) for mm, s in zip((324, 288, 200), spacing, strict=True)]
    direction = np.diag(flips).astype(float)
    half = (np.array(size) - 1) / 2 * spacing
    origin = np.array([0.0, 10.0, 0.0]) - direction @ half
    world = grid_world(size, spacing, origin, direction)
    hu = np.rint(chest_hu(world, nodules, seed)).astype(np.int16)
    labels = np.where(in_lungs(world), np.where(world[..., 0] < 0, 3, 4), 0).astype(np.uint8)
    labels[in_trachea(world)] = 5
    geometry = spacing, origin, direction
    return to_image(hu, *geometry), to_image(labels, *geometry)


def write_tree(root: Path, scans, *, excluded=(), masks=False, compress=True):
    """Write a LUNA16 tree.

    Args:
      scans: dicts with uid, subset, nodules, and keywords of `chest_image`.
      excluded: rows (uid, x, y, z, diameter).
    """
    lines = ["seriesuid,coordX,coordY,coordZ,diameter_mm"]
    for number, scan in enumerate(scans):
        scan = dict(scan)
        uid, subset, nodules = scan.pop("uid"), scan.pop("subset"), scan.pop("nodules", ())
        image, labels = chest_image(nodules, seed=number, **scan)
        folder = root / f"subset{subset}"
        folder.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(folder / f"{uid}.mhd"), compress)
        if masks:
            (root / "seg-lungs-LUNA16").mkdir(exist_ok=True)
            sitk.WriteImage(labels, str(root / "seg-lungs-LUNA16" / f"{uid}.mhd"), True)
        lines += [",".join(map(str, (uid, *nodule))) for nodule in nodules]
    (root / "annotations.csv").write_text("\n".join(lines) + "\n")
    rows = [",".join(map(str, row)) for row in excluded]
    (root / "annotations_excluded.csv").write_text("\n".join([lines[0], *rows]) + "\n")
    return root
