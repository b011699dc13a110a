"""The LIDC-IDRI's readings: XML files, outlines in pixels, and nodules that several readers marked.

from inres.lidc import nodules, readings
from inres.lidc.planes import Planes

with open("158.xml", "rb") as file:
    reading = readings.read(file, name="158.xml")
planes = Planes.regular(origin_mm=(-193.5, -180.0, -353.33), spacing_mm=(0.703, 0.703, 2.5))
for nodule in nodules.find(reading, planes):
    print(nodule.readers, nodule.diameter_mm, nodule.ratings("malignancy"))
"""
