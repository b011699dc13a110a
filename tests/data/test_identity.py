"""Scans are recognised by their voxels."""

import csv
import hashlib

import numpy as np
import pytest
import SimpleITK as sitk
from ct.dicom_files import save, slices
from ct.trees import chest_image
from data.chests import run
from sources.boxes import table

from inres.config import Config, Data, Items
from inres.data import identity
from inres.data.identity import Identity
from inres.system import files


def test_the_digest_is_that_of_shape_and_voxels():
    hu = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    content = b"(2, 3, 4)" + b"".join(int(v).to_bytes(2, "little") for v in range(24))
    expected = hashlib.sha256(content).hexdigest()
    assert identity.digest_of(hu) == identity.digest_of(hu.astype(">i2")) == expected
    assert identity.digest_of(np.asfortranarray(hu)) == expected
    assert identity.digest_of(hu.reshape(3, 2, 4)) != expected
    assert identity.digest_of(hu[::-1]) != expected


def test_a_copy_belongs_to_the_first_scan_with_its_voxels():
    known = [Identity("a", "", "1"), Identity("b", "", "1"), Identity("c", "", "")]
    new = [Identity("d", "", "1"), Identity("e", "", "2"), Identity("f", "", "2")]
    assert identity.copies([*new, Identity("g", "", "")], known) == {"d": "a", "f": "e"}
    assert identity.copies(new, ()) == {"f": "e"}
    assert identity.copies([Identity("a", "", "1")], known) == {}


def test_a_table_of_an_older_version_knows_no_digests(tmp_path):
    path = table(tmp_path / "scans.csv", "scan,path,series", "a,/x,1.2")
    assert identity.read([path, tmp_path / "absent.csv"]) == (Identity("a", "1.2", ""),)
    identity.write(path, [Identity("a, b", "", "1")])
    assert identity.read([path]) == (Identity("a, b", "", "1"),)
    path.write_text("name\na\n")
    with pytest.raises(ValueError, match=r"scans\.csv: column scan missing"):
        identity.read([path])


def test_one_scan_has_one_digest_in_every_format_and_orientation(tmp_path):
    """Also with other padding around the field of view, and other UIDs."""
    image, _ = chest_image(spacing=(4.0, 4.0, 4.0))
    hu = sitk.GetArrayFromImage(image)
    hu[:, :9] = -1024
    made = sitk.GetImageFromArray(hu)
    made.CopyInformation(image)
    sitk.WriteImage(made, str(tmp_path / "a.mha"))
    sitk.WriteImage(sitk.Flip(made, (True, False, True)), str(tmp_path / "turned.nii.gz"))
    hu[:, :9] = -2000
    padded = sitk.GetImageFromArray(hu)
    padded.CopyInformation(image)
    sitk.WriteImage(padded, str(tmp_path / "padded.nrrd"))
    x, y, z = image.GetOrigin()
    places = [(x, y, z + 4 * number) for number in range(len(hu))]
    save(tmp_path / "series", slices(hu, places, PixelSpacing=[4, 4], SliceThickness=4))
    sitk.WriteImage(chest_image(spacing=(4.0,) * 3, seed=1)[0], str(tmp_path / "other.mha"))
    names = ["a.mha", "turned.nii.gz", "padded.nrrd", "series", "other.mha"]
    table(tmp_path / "cases.csv", "scan,diameter_mm", *(f"{name},0" for name in names))
    config = Config(
        data=Data(kind="cases", root=str(tmp_path), max_thickness_mm=0.0),
        items=Items(spacing_mm=4.0, canvas_mm=320.0, normals=4, size_px=32),
    )
    store = run(config, tmp_path, tmp_path / "out")
    with open(store.root / "scans.csv", newline="") as file:
        digests = {row["scan"]: row["digest"] for row in csv.DictReader(file)}
    assert {*digests} == {*names}
    assert len({digests[name] for name in names[:4]}) == 1
    assert digests["other.mha"] != digests["a.mha"]
    (message,) = (
        text for text in files.read_json(store.root / "meta.json")["messages"] if "voxels" in text
    )
    assert message.startswith("3 of 5 scans have the same voxels as another (first: ")
