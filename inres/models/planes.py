"""Planes through the centre of a cube: the views of a volume."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

VIEWS = ("axial", "coronal", "sagittal", "y=x", "y=-x", "z=x", "z=-x", "z=y", "z=-y")
"""The planes of symmetry of a cube (Setio et al. 2016, "Pulmonary nodule detection in CT images:
false positive reduction using multi-view convolutional networks"): three parallel to its faces, and
six through opposite edges, named by their equation relative to the centre."""

# Steps (y, x, z) of one pixel down and one pixel to the right, in the order of VIEWS. A step along
# a diagonal has length 1, like all others, so every plane has the resolution of the cube.
_HALF = np.sqrt(0.5)
_STEPS = (
    ((1, 0, 0), (0, 1, 0)),
    ((0, 0, 1), (0, 1, 0)),
    ((0, 0, 1), (1, 0, 0)),
    ((0, 0, 1), (_HALF, _HALF, 0)),
    ((0, 0, 1), (-_HALF, _HALF, 0)),
    ((1, 0, 0), (0, _HALF, _HALF)),
    ((1, 0, 0), (0, _HALF, -_HALF)),
    ((0, 1, 0), (_HALF, 0, _HALF)),
    ((0, 1, 0), (_HALF, 0, -_HALF)),
)


def cube_planes(cube: jax.Array, known: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """The first `count` planes of `VIEWS`, interpolated linearly.

    All of them contain voxel D // 2 of each axis, in pixel (D // 2, D // 2), which is the centre if
    D is odd. Rows follow z (the axial plane: y), columns x or y. The six diagonal planes are cut to
    the width of the others, so they lie within the cube.

    Args:
      cube: float32 [B, D, D, D], axes y, x, z.
      known: bool [B, D, D, D].
      count: 1 to 9; 3 are the planes parallel to the faces.

    Returns:
      planes: float32 [B, count, D, D], 0 where unknown.
      known: bool [B, count, D, D]; a pixel is known if all voxels that it is made of are.

    Raises:
      ValueError: there are not so many views.
    """
    if not 1 <= count <= len(VIEWS):
        raise ValueError(f"count is {count}: must be 1 to {len(VIEWS)}, the number of views")
    voxels, weights = _samples(cube.shape[-1], count)
    flat, flat_known = (x.reshape(x.shape[0], -1) for x in (cube, known))
    shown = jnp.all(flat_known[:, voxels], axis=2)
    planes = jnp.einsum("bvtij,vtij->bvij", flat[:, voxels], weights, precision="highest")
    return jnp.where(shown, planes, 0.0), shown


@functools.cache
def _samples(side: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """What each pixel is made of.

    Returns:
      voxels: int32 [count, 4, D, D], indices into a flattened cube; a voxel of weight 0 is replaced
        by another one of the same pixel.
      weights: float32 [count, 4, D, D], the weights of these voxels, with sum 1.
    """
    offsets = np.arange(side) - side // 2
    steps = np.array(_STEPS[:count])
    down = steps[:, 0, :, None, None] * offsets[:, None]
    right = steps[:, 1, :, None, None] * offsets
    places = side // 2 + down + right  # [count, 3, D, D]
    low = np.floor(places).astype(int)
    part = places - low
    # No plane is oblique to all axes: at most two of the three coordinates are not whole numbers.
    corners = np.array(list(np.ndindex(2, 2, 2)))[:, None, :, None, None]
    weights = np.where(corners, part, 1 - part).prod(axis=2)  # [8, count, D, D]
    voxels = np.moveaxis(low + corners, 2, 0)  # [3, 8, count, D, D]
    largest = np.argsort(-weights, axis=0, kind="stable")[:4]
    weights = np.take_along_axis(weights, largest, 0)
    voxels = np.take_along_axis(voxels, largest[None], 1)
    voxels = np.where(weights > 0, voxels, voxels[:, :1])
    # Only with an even side below 8 does a diagonal end beyond the last voxel, which then repeats.
    flat = np.ravel_multi_index(tuple(voxels), (side,) * 3, mode="clip")
    order = (1, 0, 2, 3)
    return flat.transpose(order).astype(np.int32), weights.transpose(order).astype(np.float32)
