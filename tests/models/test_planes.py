import itertools

import jax
import numpy as np
import pytest
from scipy import ndimage

from inres.models.planes import VIEWS, cube_planes

planes_of = jax.jit(cube_planes, static_argnums=2)


def cubes(side, b=2):
    return np.random.default_rng(side).random((b, side, side, side), np.float32)


@pytest.mark.parametrize("side", [6, 7])
def test_three_planes_are_slices(side):
    cube, c = cubes(side), side // 2
    planes, known = planes_of(cube, np.ones(cube.shape, bool), 3)
    want = [cube[:, :, :, c], cube[:, c].swapaxes(1, 2), cube[:, :, c].swapaxes(1, 2)]
    np.testing.assert_array_equal(planes, np.stack(want, 1))
    assert np.all(known)


@pytest.mark.parametrize("side", [8, 9])
def test_nine_planes_equal_scipys_interpolation(side):
    """The equation of a plane in its name holds at every point, and pixels are one voxel apart."""
    cube = cubes(side)
    planes, known = planes_of(cube, np.ones(cube.shape, bool), 9)
    assert planes.shape == known.shape == (2, 9, side, side)
    assert np.all(known)
    offset = np.arange(side) - side // 2
    along, across = np.meshgrid(offset, offset / np.sqrt(2), indexing="ij")
    whole = np.meshgrid(offset, offset, indexing="ij")
    zero = np.zeros((side, side))
    places = {  # y, x, z
        "axial": (whole[0], whole[1], zero),
        "coronal": (zero, whole[1], whole[0]),
        "sagittal": (whole[1], zero, whole[0]),
        "y=x": (across, across, along),
        "y=-x": (-across, across, along),
        "z=x": (along, across, across),
        "z=-x": (along, across, -across),
        "z=y": (across, along, across),
        "z=-y": (across, along, -across),
    }
    assert tuple(places) == VIEWS
    for v, place in enumerate(places.values()):
        for b in range(2):
            want = ndimage.map_coordinates(cube[b], np.array(place) + side // 2, order=1)
            np.testing.assert_allclose(planes[b, v], want, atol=1e-5)


def test_a_pixel_is_known_if_every_voxel_behind_it_is():
    side = 7
    cube, known = cubes(side, 1), np.random.default_rng(0).random((1, side, side, side)) > 0.2
    planes, shown = (np.asarray(x) for x in planes_of(cube, known, 9))
    # What changes when unknown voxels change is unknown; what is unknown is 0.
    everything = np.ones_like(known)
    clear, _ = planes_of(cube, everything, 9)
    other, _ = planes_of(np.where(known, cube, cube + 1), everything, 9)
    np.testing.assert_array_equal(shown, np.abs(np.asarray(other) - clear) < 1e-6)
    np.testing.assert_allclose(planes, np.where(shown, clear, 0), atol=1e-6)
    assert 0 < shown.mean() < 1


def test_a_single_slice_is_all_of_the_axial_plane_and_a_line_of_the_upright_ones():
    side = 7
    known = np.zeros((1, side, side, side), bool)
    known[..., side // 2] = True
    _, shown = planes_of(cubes(side, 1), known, 9)
    pixels = np.asarray(shown)[0].sum((1, 2))
    assert pixels[0] == side**2
    assert pixels[1:5].tolist() == [side] * 4
    # Of a plane that is tilted against the slice, the one line where both meet at a whole voxel.
    assert pixels[5:].tolist() == [side] * 4


def test_the_symmetries_of_the_cube_permute_the_planes():
    side = 5
    cube = cubes(side, 1)[0]
    known = np.ones((48, side, side, side), bool)
    turned = [
        np.transpose(cube, axes)[:: f[0], :: f[1], :: f[2]]
        for axes in itertools.permutations(range(3))
        for f in itertools.product((1, -1), repeat=3)
    ]
    planes = np.asarray(planes_of(np.stack(turned), known, 9)[0])

    def alike(plane):  # an image up to its eight symmetries
        return min(
            np.round(np.rot90(p, k), 5).tobytes() for p in (plane, plane.T) for k in range(4)
        )

    sets = [sorted(map(alike, of_one)) for of_one in planes]
    assert all(s == sets[0] for s in sets)
    assert len(set(sets[0])) == 9


def test_a_number_of_views_that_do_not_exist_is_refused():
    with pytest.raises(ValueError, match="count is 10"):
        cube_planes(cubes(3), np.ones((2, 3, 3, 3), bool), 10)
