"""Compare the LIDC's readings, as this program reads them, with LUNA16's list of nodules.

    python -m experiments.lidc_check --readings=tcia-lidc-xml.zip --luna16=LUNA16 \\
        --geometry=origin_spacing.csv --dicom=LIDC-IDRI --out=runs/lidc_check

--readings is a zip file, an XML file, or a folder with them. --luna16 has annotations.csv,
annotations_excluded.csv and seriesuids.csv. Nodules are counted in every series; positions and
diameters are compared where the geometry of a series is known, from --geometry (columns
seriesuid,origin_x,origin_y,origin_z,spacing_x,spacing_y,spacing_z of LUNA16's images) or from the
DICOM series in --dicom. No pixels are read.

Prints, and writes to --out: agreement.csv with the share of each kind of agreement, series.csv with
the number of nodules in each series, and nodules.csv with each nodule of LUNA16, the nodule found
there, and why they differ. Takes about a minute for all 1,018 series.
"""

from pathlib import Path

from absl import flags

from experiments import common
from inres.sources import lidc
from inres.studies import lidc_luna16
from inres.system import tables

READINGS = flags.DEFINE_string("readings", None, "Readings: a zip or XML file, or a folder.")
LUNA16 = flags.DEFINE_string("luna16", None, "Folder of LUNA16's tables.")
GEOMETRY = flags.DEFINE_string("geometry", "", "Table of origins and spacings of LUNA16's images.")
DICOM = flags.DEFINE_string("dicom", "", "Folder with DICOM series of the LIDC-IDRI.")
OUT = flags.DEFINE_string("out", "runs/lidc_check", "Folder of the results.")


def check(arguments: list[str]) -> None:
    """Compare, print and write the tables."""
    common.refuse_arguments(arguments)
    readings, others = lidc_luna16.read_readings(Path(str(READINGS.value)))
    print(f"  {len(readings)} CT series read, {others} XML files of another kind")
    luna16 = lidc_luna16.read_luna16(Path(str(LUNA16.value)))
    geometry = {}
    if GEOMETRY.value:
        geometry = lidc_luna16.read_geometry(Path(GEOMETRY.value), readings, luna16)
    if DICOM.value:
        geometry |= lidc.all_planes(Path(DICOM.value), readings)
    found = lidc_luna16.compare(readings, luna16, geometry)
    out = Path(OUT.value)
    for name, columns, rows in found.tables():
        tables.write_table(out / name, columns, rows)
    print("\n".join(("", *found.lines())))
    print(f"\n  tables   {out}")


if __name__ == "__main__":
    common.launch_with_arguments(check, required=("readings", "luna16"))
