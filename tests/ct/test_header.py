"""World positions and voxels, with real geometry."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from ct.scans import write
from ct.trees import to_image

from inres.ct import scan
from inres.ct.header import Grid, ScanError
from inres.ct.image import read_image
from inres.system import files, memory


def test_world_to_voxel_with_real_origins(real_data):
    """Every annotation of the 544 series with known geometry, against SimpleITK."""
    path = real_data("luna16_csv") / "origin_spacing_of_1004_nodules.csv"
    rows = files.read_csv(path, ["coord_x"])
    assert len(rows) == 1004
    turned = set()
    for row in rows:
        spacing, origin, world = (
            tuple(float(row[f"{name}_{axis}"]) for axis in "xyz")
            for name in ("spacing", "origin", "coord")
        )
        # Eleven series lie turned by 180 degrees in plane; the table has no direction.
        sign = -1.0 if world[0] < origin[0] else 1.0
        turned |= {row["seriesuid"]} if sign < 0 else set()
        direction = np.diag([sign, sign, 1.0])
        image = to_image(np.zeros((1, 1, 1), np.int16), spacing, origin, direction)
        grid = Grid(spacing_mm=spacing, origin_mm=origin, direction=direction)
        index = grid.world_to_index(np.array(world))
        expected = image.TransformPhysicalPointToContinuousIndex(world)
        np.testing.assert_allclose(index[::-1], expected, atol=1e-6)
        assert np.all((index >= 0) & (index[0] < 1000))
        assert np.all(index[1:] < 512)
    assert len(turned) == 11


def test_real_chunks_are_where_their_names_say(real_data):
    """Chunks of 32 x 48 x 48 HU round a candidate, whose voxel is in the file's name."""
    chunks = sorted(real_data("luna16_hu_chunks").glob("*.npz"))
    assert len(chunks) == 6
    with open(real_data("luna16_csv") / "origin_spacing_of_1004_nodules.csv") as file:
        known = {row["seriesuid"]: row for row in csv.DictReader(file)}
    places = files.read_csv(real_data("luna16_hu_chunks") / "present_candidates.csv", ["coord_x"])
    checked = 0
    for place in places:
        row = known.get(place["seriesuid"])
        if row is None:
            continue
        number = Path(place["file_path"]).stem.split("_")[-1].split(":")
        spacing, origin = (
            tuple(float(row[f"{name}_{axis}"]) for axis in "xyz") for name in ("spacing", "origin")
        )
        grid = Grid(spacing_mm=spacing, origin_mm=origin, direction=np.eye(3))
        world = np.array([float(place[f"coord_{axis}"]) for axis in "xyz"])
        np.testing.assert_allclose(grid.world_to_index(world), [int(n) for n in number], atol=1.0)
        chunk = np.load(real_data("luna16_hu_chunks") / Path(place["file_path"]).name)["ct_chunk"]
        if float(place["diameter_mm"]) > 0:
            assert chunk[15:18, 23:26, 23:26].mean() > -700, "a nodule is no air"
        checked += 1
    assert checked >= 3


def test_what_does_not_fit_in_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = write(tmp_path / "a.nrrd")
    monkeypatch.setattr(memory, "available_bytes", lambda: 30_000)
    for read in (scan.read_scan, read_image):
        with pytest.raises(ScanError, match=r"a\.nrrd: 20 x 16 x 6 voxels are too many: 3.07e-05"):
            read(path)
    assert scan.read_header(path).shape == (6, 16, 20)


def test_names_and_links_that_lead_nowhere_are_explained(tmp_path):
    absent, loop = tmp_path / "absent.mhd", tmp_path / "loop.mhd"
    absent.symlink_to("gone.mhd")
    loop.symlink_to("loop.mhd")
    with pytest.raises(ScanError, match=r"absent\.mhd: a link to gone\.mhd, which is not there"):
        scan.read_scan(absent)
    with pytest.raises(ScanError, match=r"loop\.mhd: a link to loop\.mhd"):
        read_image(loop)
    for name, reason in (("a\udcff.mhd", "its name is not UTF-8"), ("x" * 300, "name too long")):
        with pytest.raises(ScanError, match=rf"(?i){reason}"):
            scan.read_scan(tmp_path / name)
    with pytest.raises(ScanError, match="no such file"):
        scan.read_scan(tmp_path / "a\0b.mhd")


def test_pipes_and_devices_are_refused_instead_of_waited_for(tmp_path):
    pipe = tmp_path / "scan.mhd"
    os.mkfifo(pipe)
    for read in (scan.read_header, scan.read_scan, read_image):
        with pytest.raises(ScanError, match=r"scan\.mhd: a pipe or device, not a regular file"):
            read(pipe)
