"""Truncated and damaged files, which SimpleITK alone reads or reports wrongly."""

import gzip

import numpy as np
import pytest
from ct.scans import FORMATS, NOISE, write

from inres.ct import scan
from inres.ct.header import ScanError
from inres.system import files


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("share", [0.4, 0.98])
def test_truncated_data_is_named(tmp_path, suffix, compress, share):
    path = write(tmp_path / f"a.{suffix}", compress=compress)
    data = path
    if suffix == "mhd":
        data = path.with_suffix(".zraw" if compress else ".raw")
    content = data.read_bytes()
    data.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ScanError, match=r"truncated.*fetch it again") as error:
        scan.read_scan(path)
    assert str(data) in str(error.value) or str(path) in str(error.value)
    if suffix == "mhd" or (suffix in ("mha", "nii") and not compress):
        with pytest.raises(ScanError, match="truncated"):
            scan.read_header(path)


@pytest.mark.parametrize("suffix", ["mhd", "nrrd", "nii.gz"])
def test_damaged_compressed_data_is_named(tmp_path, suffix):
    path = write(tmp_path / f"a.{suffix}")
    data = path.with_suffix(".zraw") if suffix == "mhd" else path
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 0xFF
    data.write_bytes(bytes(content))
    with pytest.raises(ScanError, match=r"damaged|not an image"):
        scan.read_scan(path)


def test_truncated_zraw_without_a_stated_size(tmp_path):
    path = write(tmp_path / "a.mhd")
    lines = path.read_text().splitlines()
    files.write_text(path, "\n".join(x for x in lines if "CompressedDataSize" not in x) + "\n")
    np.testing.assert_array_equal(scan.read_scan(path).hu, NOISE)
    data = path.with_suffix(".zraw")
    data.write_bytes(data.read_bytes()[:-40])
    with pytest.raises(ScanError, match="truncated"):
        scan.read_scan(path)


def test_gz_check_reads_other_packers(tmp_path):
    path = write(tmp_path / "a.nii", compress=False)
    packed = tmp_path / "b.nii.gz"
    with gzip.open(packed, "wb", compresslevel=1) as file:
        file.write(path.read_bytes())
    np.testing.assert_array_equal(scan.read_scan(packed).hu, NOISE)
