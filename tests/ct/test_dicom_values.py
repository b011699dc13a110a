"""HU = slope x stored value + intercept, of any way to store a value, and padding."""

import io
import warnings

import numpy as np
import pydicom
import pytest
from ct.dicom_files import pictures, save, slices, store
from PIL import Image
from pydicom.dataelem import RawDataElement
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_rescale
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from inres.ct import scan
from inres.ct.header import ScanError
from inres.ct.hu import AIR_HU

HEIGHTS = np.arange(4) * 2.0
HU = pictures(4)


def read(tmp_path, datasets):
    return scan.read_scan(save(tmp_path / "d", datasets))


def pydicom_hu(folder):
    """HU of the files in order of z, by pydicom."""
    datasets = [pydicom.dcmread(path) for path in folder.iterdir()]
    datasets.sort(key=lambda dataset: dataset.ImagePositionPatient[2])
    return np.stack([apply_rescale(dataset.pixel_array, dataset) for dataset in datasets])


@pytest.mark.parametrize("allocated", [16, 32])
@pytest.mark.parametrize(("bits", "signed"), [(16, True), (16, False), (12, False), (13, True)])
def test_bits_and_sign(tmp_path, bits, signed, allocated):
    datasets = slices(HU, HEIGHTS)
    for dataset, hu in zip(datasets, HU, strict=True):
        store(dataset, hu.astype(int) + 1024, bits=bits, signed=signed, allocated=allocated)
    volume = read(tmp_path, datasets)
    np.testing.assert_array_equal(volume.hu, HU)
    np.testing.assert_array_equal(pydicom_hu(tmp_path / "d"), HU)
    assert volume.notes == ()


def test_eight_bits(tmp_path):
    datasets = slices(HU, HEIGHTS, RescaleSlope="10", RescaleIntercept="-1000")
    for dataset, hu in zip(datasets, HU, strict=True):
        store(dataset, (hu.astype(int) + 1000) // 10, bits=8, signed=False, allocated=8)
    np.testing.assert_array_equal(read(tmp_path, datasets).hu, HU // 10 * 10)


def test_negative_values_in_twelve_bits(tmp_path):
    """Without the sign extended into the other four bits, as the standard leaves open."""
    datasets = slices(HU, HEIGHTS, RescaleIntercept="0")
    for dataset, hu in zip(datasets, HU, strict=True):
        store(dataset, hu.astype(int) & 0xFFF, bits=12)
    volume = read(tmp_path, datasets)
    np.testing.assert_array_equal(volume.hu, HU)
    assert volume.notes == ()


def test_values_in_the_high_bits(tmp_path):
    datasets = slices(HU, HEIGHTS)
    for dataset, hu in zip(datasets, HU, strict=True):
        store(dataset, (hu.astype(int) + 1024) << 4, bits=12, signed=False)
        dataset.HighBit = 15
    np.testing.assert_array_equal(read(tmp_path, datasets).hu, HU)


@pytest.mark.parametrize("signed", [True, False])
def test_overlays_in_other_bits_are_ignored_with_a_note(tmp_path, signed):
    datasets = slices(HU, HEIGHTS)
    for dataset, hu in zip(datasets, HU, strict=True):
        overlay = np.where(np.indices(hu.shape)[0] % 2, 0x4000, 0)
        store(dataset, (hu.astype(int) + 1024) | overlay, bits=12, signed=signed)
    volume = read(tmp_path, datasets)
    np.testing.assert_array_equal(volume.hu, HU)
    assert volume.notes == ("bits outside BitsStored ignored in 4 slices (overlays)",)


@pytest.mark.parametrize(("bits", "high"), [(10, 9), (11, 10), (12, 15), (12, 14)])
def test_values_with_more_bits_than_are_stored_are_refused(tmp_path, bits, high):
    datasets = slices(HU, HEIGHTS)
    for dataset, hu in zip(datasets, HU, strict=True):
        store(dataset, hu.astype(int) + 1024 + 40 * (bits > 10), bits=12, signed=False)
        dataset.BitsStored, dataset.HighBit = bits, high
    with pytest.raises(ScanError, match=rf"values of more than BitsStored = {bits} bits .*{high}"):
        read(tmp_path, datasets)


def test_a_declared_overlay_is_ignored_next_to_the_values(tmp_path):
    datasets = slices(HU, HEIGHTS)
    for dataset, hu in zip(datasets, HU, strict=True):
        store(dataset, (hu.astype(int) + 1024) | 0x1000, bits=12, signed=False)
        dataset.add_new((0x6000, 0x0102), "US", 12)
    np.testing.assert_array_equal(read(tmp_path, datasets).hu, HU)


@pytest.mark.parametrize("wrong", [slice(None), slice(1, 2)])
def test_signed_values_that_are_declared_unsigned_are_refused(tmp_path, wrong):
    datasets = slices(HU, HEIGHTS, RescaleIntercept=0)
    for dataset, hu in zip(datasets, HU, strict=True):
        store(dataset, hu)
    for dataset in datasets[wrong]:
        dataset.PixelRepresentation = 0
    with pytest.raises(ScanError, match=r"\.dcm: unsigned values from 6\d+ to 65\d+, which"):
        read(tmp_path, datasets)


@pytest.mark.parametrize("name", ["RescaleSlope", "RescaleIntercept"])
def test_a_rescale_that_only_some_slices_have_is_refused(tmp_path, name):
    datasets = slices(HU, HEIGHTS)
    delattr(datasets[2], name)
    with pytest.raises(ScanError, match=rf"14-2\.dcm without {name} .*the other slices have"):
        read(tmp_path, datasets)


def test_a_compressed_stream_of_fewer_bits_than_the_header_says_is_refused(tmp_path):
    datasets = slices(HU, HEIGHTS)
    for dataset, hu in zip(datasets, HU, strict=True):
        picture = io.BytesIO()
        Image.fromarray(((hu + 1024) // 8).astype(np.uint8)).save(picture, "JPEG2000", no_jp2=True)
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
        dataset.PixelData = encapsulate([picture.getvalue()])
        dataset["PixelData"].is_undefined_length = True
    with pytest.raises(ScanError, match="its pixels cannot be decoded"):
        read(tmp_path, datasets)


@pytest.mark.parametrize("signed", [True, False])
def test_monochrome1_is_display_only(tmp_path, signed):
    datasets = slices(HU, HEIGHTS, PhotometricInterpretation="MONOCHROME1")
    for dataset, hu in zip(datasets, HU, strict=True):
        store(dataset, hu.astype(int) + 1024, bits=12, signed=signed)
    datasets[1].compress(RLELossless)
    volume = read(tmp_path, datasets)
    np.testing.assert_array_equal(volume.hu, HU)
    assert volume.notes == ("MONOCHROME1, which inverts the display, not the HU",)


def raw_text(dataset, name, value):
    """Put a text into an element as it is, without pydicom's checks."""
    tag = pydicom.tag.Tag(name)
    dataset[tag] = RawDataElement(tag, "DS", len(value), value, 0, False, True)


@pytest.mark.parametrize(
    ("slope", "intercept"),
    [
        (b" 1.000000000\0", b"-1024.000000 "),
        (b"1\\1", b"-1024 \0\0"),
        (b"+1.0E+00", b"-1.024E3"),
        (b"0.5 ", b"-1024.0"),
        (b"0.25", b"-1024.25"),
        (b"2.0002442", b"-4047"),
    ],
)
def test_slopes_and_intercepts_as_padded_texts(tmp_path, slope, intercept):
    datasets = slices(HU, HEIGHTS)
    factors = [float(text.strip(b" \0").split(b"\\")[0]) for text in (slope, intercept)]
    expected = np.rint((HU.astype(int) + 1024) * factors[0] + factors[1])
    for dataset in datasets:
        raw_text(dataset, "RescaleSlope", slope)
        raw_text(dataset, "RescaleIntercept", intercept)
    hu = read(tmp_path, datasets).hu
    low = expected < -1500
    np.testing.assert_array_equal(hu[~low], expected[~low])
    assert np.all(hu[low] == AIR_HU)


def test_each_slice_has_its_own_slope_and_intercept(tmp_path):
    datasets = slices(HU, HEIGHTS)
    rescales = [(1, 0), (0.5, -1024), (2, -1000), (0.125, -2048)]
    for dataset, hu, (slope, intercept) in zip(datasets, HU, rescales, strict=True):
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
        store(dataset, np.rint((hu.astype(int) - intercept) / slope).astype(int))
    expected = HU.copy()
    expected[2] = np.rint((HU[2] + 1000) / 2).astype(int) * 2 - 1000
    np.testing.assert_array_equal(read(tmp_path, datasets).hu, expected)
    np.testing.assert_array_equal(pydicom_hu(tmp_path / "d"), expected)


def test_a_slope_of_zero_is_one(tmp_path):
    volume = read(tmp_path, slices(HU, HEIGHTS, RescaleSlope="0"))
    np.testing.assert_array_equal(volume.hu, HU)
    assert volume.notes == ("RescaleSlope is 0, taken as 1",)


@pytest.mark.parametrize("name", ["RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("value", [b"1,5", b"abc ", b"nan ", b"1e999 "])
def test_unreadable_rescale_is_refused(tmp_path, name, value):
    datasets = slices(HU, HEIGHTS)
    raw_text(datasets[2], name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ScanError, match=rf"14-2\.dcm: {name} \(0028,105\d\) is '.*', not a"):
            read(tmp_path, datasets)


def test_values_without_rescale_must_look_like_hu(tmp_path):
    bare = slices(HU, HEIGHTS, RescaleSlope=None, RescaleIntercept=None)
    with pytest.raises(
        ScanError, match=r"no RescaleIntercept .* the lowest is 2\d and air is -1000"
    ):
        read(tmp_path, bare)
    for dataset, hu in zip(bare, HU, strict=True):
        store(dataset, hu.astype(int))
    volume = read(tmp_path, bare)
    np.testing.assert_array_equal(volume.hu, HU)
    assert volume.notes == ("no RescaleSlope or RescaleIntercept: stored values are taken for HU",)


@pytest.mark.parametrize("kind", ["OD", "Z_EFF", "MGML", "EDW"])
def test_other_quantities_than_hu_are_refused(tmp_path, kind):
    with pytest.raises(ScanError, match=rf"RescaleType .* is '{kind}': its values are not HU"):
        read(tmp_path, slices(HU, HEIGHTS, RescaleType=kind))


def test_tables_of_values_are_refused(tmp_path):
    table = pydicom.Dataset()
    table.LUTDescriptor = [2, 0, 16]
    with pytest.raises(ScanError, match="ModalityLUTSequence"):
        read(tmp_path, slices(HU, HEIGHTS, ModalityLUTSequence=[table]))


# Padding


def padded(value, *, intercept=-1024, declared=None, limit=None, signed=True, bits=16, vr="US"):
    """Slices with a stored value around the picture, and where it is."""
    outside = np.ones(HU.shape, bool)
    outside[:, 3:-3, 3:-3] = False
    datasets = slices(HU, HEIGHTS, RescaleIntercept=intercept)
    for dataset, hu, where in zip(datasets, HU, outside, strict=True):
        store(
            dataset,
            np.where(where, value, hu.astype(int) - intercept),
            bits=bits,
            signed=signed,
        )
        if declared is not None:
            dataset.add_new("PixelPaddingValue", vr, declared)
        if limit is not None:
            dataset.add_new("PixelPaddingRangeLimit", vr, limit)
    return datasets, outside


@pytest.mark.parametrize(
    "kind",
    [
        {"value": -2000, "declared": 63536},
        {"value": -2000, "declared": -2000, "vr": "SS"},
        {"value": -2000},
        {"value": -32768, "declared": 32768},
        {"value": -3024, "intercept": 0},
        {"value": 63536, "declared": 63536, "signed": False},
        {"value": 63536, "declared": 63536, "signed": False, "bits": 12},
        {"value": 2096, "declared": 63536, "bits": 12, "intercept": 0},
        {"value": 2096, "declared": 2096, "bits": 12, "intercept": 0},
        {"value": 0, "declared": 0, "signed": False},
        {"value": 4095, "declared": 4000, "limit": 4095, "signed": False},
        {"value": -1900, "declared": -2000, "limit": -1800, "vr": "SS", "intercept": -500},
        {"value": 30000, "declared": 32767, "limit": 30000},
        {"value": 63536, "signed": False},
        {"value": 0, "declared": 0, "intercept": 0},
    ],
    ids=str,
)
def test_padding_is_air(tmp_path, kind):
    datasets, outside = padded(**kind)
    volume = read(tmp_path, datasets)
    np.testing.assert_array_equal(volume.hu[~outside], HU[~outside])
    assert set(volume.hu[outside].tolist()) == {AIR_HU}
    assert f"padding set to {AIR_HU} HU in {outside.sum()} pixels" in volume.notes


def test_padding_values_inside_the_body_are_hu(tmp_path):
    """A declared padding value of 0 HU would otherwise punch holes into water."""
    datasets, outside = padded(0, declared=0, intercept=0)
    hu = HU.copy()
    hu[:, 6, 5] = 0
    assert not outside[:, 5:8, 4:7].any()
    for dataset, picture, where in zip(datasets, hu, outside, strict=True):
        store(dataset, np.where(where, 0, picture.astype(int)))
    volume = read(tmp_path, datasets)
    np.testing.assert_array_equal(volume.hu[~outside], hu[~outside])
    assert set(volume.hu[outside].tolist()) == {AIR_HU}
    assert any("4 pixels with the padding value are not connected" in n for n in volume.notes)


def test_padding_does_not_hide_that_values_are_no_hu(tmp_path):
    datasets, _ = padded(-2000, intercept=-1024, declared=63536)
    for dataset in datasets:
        dataset.RescaleIntercept = "0"
    with pytest.raises(ScanError, match=r"the values are not HU, since the lowest is \d+ and air"):
        read(tmp_path, datasets)
    for dataset in datasets:
        store(dataset, np.full(HU[0].shape, -2000))
    with pytest.raises(ScanError, match="all pixels are padding"):
        read(tmp_path, datasets)


def test_an_intercept_that_was_subtracted_before_is_refused(tmp_path):
    """Air at -2024 HU would otherwise be taken for padding, and lung too."""
    hu = np.full((4, 12, 10), 40)
    hu[:, :4], hu[:, 4:8] = -1000, -850
    datasets = slices(hu, HEIGHTS)
    for dataset, picture in zip(datasets, hu, strict=True):
        store(dataset, picture)
    with pytest.raises(ScanError, match=r"not HU: 67% are below -1500, and hardly any is .* soft"):
        read(tmp_path, datasets)


@pytest.mark.parametrize("kind", ["sign", "byte order", "slope"])
def test_values_denser_than_bone_are_refused(tmp_path, kind):
    datasets = slices(HU, HEIGHTS, RescaleIntercept=0 if kind == "sign" else -1024)
    for dataset, hu in zip(datasets, HU, strict=True):
        stored = hu.astype(int) + (0 if kind == "sign" else 1024)
        store(dataset, stored)
        dataset.PixelRepresentation = 0
        if kind == "byte order":
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
        if kind == "slope":
            dataset.RescaleSlope = "16"
    with pytest.raises(ScanError, match=r"the values are not HU|which are HU if they are signed"):
        read(tmp_path, datasets)


# Transfer syntaxes


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless],
)
def test_transfer_syntaxes(tmp_path, syntax):
    datasets, outside = padded(-2000, declared=63536)
    for dataset in datasets:
        if syntax == RLELossless:
            dataset.compress(syntax)
            continue
        dataset.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
    volume = read(tmp_path, datasets)
    np.testing.assert_array_equal(volume.hu, np.where(outside, AIR_HU, HU))


LOSSY = {
    "1.2.4.50": 70,
    "1.2.4.51": 40,
    "1.2.4.53": 40,
    "1.2.4.55": 40,
    "1.2.4.81": 2,
    "1.2.4.91": 6,
}
"""Largest difference in HU of the lossy files: 8 bits have steps of 32 HU, 12 bits steps of 2."""


def test_real_slice_in_sixteen_transfer_syntaxes(real_data):
    paths = sorted(real_data("transfer_syntaxes").glob("*.dcm"))
    assert len(paths) == 16
    reference = pydicom.dcmread(paths[0])
    stored = reference.pixel_array.astype(int)
    expected = stored * float(reference.RescaleSlope) + float(reference.RescaleIntercept)
    expected[expected < -1500] = AIR_HU
    for path in paths:
        volume = scan.read_scan(path)
        tolerance = next((hu for end, hu in LOSSY.items() if f"{end}.dcm" in path.name), 0)
        assert np.abs(volume.hu[0] - expected).max() <= tolerance, path.name
        assert any("lossy" in note for note in volume.notes) == (tolerance > 0), path.name
        assert volume.spacing_mm == (0.675781, 0.675781, 5.0)


@pytest.mark.parametrize(
    ("written", "syntax"),
    [
        (HTJ2KLossless, "1.2.840.10008.1.2.4.201"),
        (HTJ2KLossless, "1.2.840.10008.1.2.4.110"),  # JPEG XL
        (HTJ2KLossless, "1.2.840.10008.1.2.4.102"),  # MPEG-4
        (ExplicitVRLittleEndian, "1.2.840.113619.5.2"),  # GE, big-endian pixels
        (ExplicitVRLittleEndian, "1.2.3"),
    ],
)
def test_unsupported_syntaxes_are_named_with_a_way_to_convert(tmp_path, written, syntax):
    dataset = slices(HU, HEIGHTS)[0]
    dataset.file_meta.TransferSyntaxUID = written
    if written == HTJ2KLossless:
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51junk"])
        dataset["PixelData"].is_undefined_length = True
    path = tmp_path / "a.dcm"
    dataset.save_as(path, enforce_file_format=True)
    size = len(written) + len(written) % 2
    data = path.read_bytes().replace(
        written.encode(), syntax.encode().ljust(size, b"\0")[: len(written)]
    )
    path.write_bytes(data)
    with pytest.raises(ScanError, match=rf"a\.dcm: .*\({syntax}\).*gdcmconv --raw.*dcmdjpeg"):
        scan.read_scan(path)
