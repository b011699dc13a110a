"""Items: the images of a run, with what is known of each."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from inres.vocabulary import CLASS_EDGES_MM, CLASS_NAMES

SIDES = ("train", "val", "test")
"""The sides of a split; "earlier" and "later" sides refer to this order."""


def size_class(diameter_mm: np.ndarray | float) -> np.ndarray:
    """The size class of diameters (paper, Table 2): int32 of the same shape.

    0 mm is class 0, no nodule; all others are 1 to 7. Diameters on an edge belong to the upper
    class. Do not round diameters before.

    Raises:
      ValueError: a diameter is negative or not finite.
    """
    diameter = np.asarray(diameter_mm, np.float64)
    if not np.all(np.isfinite(diameter) & (diameter >= 0)):
        raise ValueError("diameter_mm must be finite and 0 or more")
    label = 1 + np.searchsorted(CLASS_EDGES_MM, diameter, side="right")
    return np.where(diameter > 0, label, 0).astype(np.int32)


def class_names(labels: np.ndarray, diameters_mm: np.ndarray) -> tuple[str, ...]:
    """Names of the classes of known labels int [N].

    Labels are Table 2's eight size classes if some diameter is known and each known diameter agrees
    with its label, even if the largest classes are absent. Otherwise, class 0 is "no nodule",
    unless items of it have a diameter; of two classes, the other then is "nodule". All other labels
    are numbers.
    """
    known, count = np.isfinite(diameters_mm), int(labels.max()) + 1
    agree = np.array_equal(size_class(diameters_mm[known]), labels[known])
    if known.any() and agree and 2 < count <= len(CLASS_NAMES):
        return CLASS_NAMES
    numbers, none = tuple(map(str, range(count))), labels == 0
    if np.any(diameters_mm[none] > 0):
        return numbers
    if count == 2:
        return "no nodule", "nodule"
    return ("no nodule", *numbers[1:]) if none.any() else numbers


def no_nodule_class(names: Sequence[str]) -> int:
    """The class of items without a nodule by the `class_names`: 0, or -1 if there is none."""
    return 0 if names[:1] in (CLASS_NAMES[:1], ("no nodule",)) else -1


@dataclasses.dataclass(frozen=True)
class Item:
    """One image and what is known of it. Unknown numbers are NaN, unknown text is empty."""

    image: str
    """Path of the image in a folder; empty for items cut from scans."""
    scan: str
    """The series. Its items stay on one side of a split, with all scans of the patient."""
    nodule: str = ""
    """Name of the annotation, unique over scans; empty for normal slices."""
    label: int = -1
    """The class, -1 where unknown."""
    diameter_mm: float = float("nan")
    malignancy: float = float("nan")
    split: str = ""
    """`train`, `val` or `test` where the data defines it."""
    subset: int = -1
    """Official fold, -1 if there is none."""
    x_mm: float = float("nan")
    y_mm: float = float("nan")
    z_mm: float = float("nan")
    """World position (LPS) of the nodule's centre, or of a point of a normal slice."""
    row: float = float("nan")
    col: float = float("nan")
    """The same point on the canvas in pixels; NaN for an image that is a crop already."""
    offset_mm: float = 0.0
    """Distance along the body axis from the nodule's central slice; 0 for that slice. Slices with
    an offset are not part of the archive or of the queries: those of scans are for training only,
    those of folders are neighbours of the central one or planes of its cube."""
    patient: str = ""
    """Name of the patient; if empty, the scan counts as a patient of its own."""
    properties: Mapping[str, float] = dataclasses.field(default_factory=dict, hash=False)
    """Other known numbers by name, such as the ratings of `vocabulary.PROPERTIES`; finite. A name
    that ends in `_sd` is the standard deviation of the property over its readers."""
    texts: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)
    """Other known texts by name, such as the study's date; none is empty."""

    def value(self, name: str) -> float:
        """A field or property that is a number; NaN where unknown."""
        if name in self.properties:
            return self.properties[name]
        number = getattr(self, name, math.nan)
        return float(number) if isinstance(number, int | float) else math.nan

    def text(self, name: str) -> str:
        """A field or column that is a text; empty where unknown."""
        text = self.texts.get(name) or getattr(self, name, "")
        return text if isinstance(text, str) else ""


def table2(items: Iterable[Item]) -> dict[str, int]:
    """Number of items in each size class by name, as in the paper's Table 2.

    A nodule counts once, whatever its number of training slices.
    """
    labels = [item.label for item in items if not item.offset_mm]
    return {name: labels.count(label) for label, name in enumerate(CLASS_NAMES)}


def item_names(items: Sequence[Item]) -> np.ndarray:
    """A name for every item, str [N], that is the same in every run on the same data.

    It is the image file, or else the nodule, or else scan and position; a number is added to a name
    that occurred before.
    """
    seen: dict[str, int] = {}
    names = []
    for item in items:
        place = f"{item.scan}@{item.x_mm:g},{item.y_mm:g},{item.z_mm:g}"
        name = item.image or item.nodule or place
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return np.array(names, str)


def known_patients(items: Sequence[Item]) -> np.ndarray:
    """The patient of each item, str [N]; empty where unknown.

    If one item of a scan names the patient, it is that of all items of the scan.
    """
    named = {item.scan: item.patient for item in items if item.scan and item.patient}
    return np.array([item.patient or named.get(item.scan, "") for item in items], str)


def patients(items: Sequence[Item]) -> np.ndarray:
    """The patient of each item, or else its scan: str [N]; empty if both are unknown."""
    known = known_patients(items)
    return np.where(known != "", known, np.array([item.scan for item in items], str))


def nodule_names(items: Sequence[Item]) -> np.ndarray:
    """The nodule of each item, `nodule_name`, str [N]."""
    return np.array([nodule_name(item.scan, item.patient, item.nodule) for item in items], str)


def nodule_name(scan: str, patient: str, nodule: str) -> str:
    """The name of an item's nodule within its scan; empty for normal slices.

    Where the scan is unknown, the patient precedes the name, since nodules of different patients
    may have the same name.
    """
    return f"{patient}/{nodule}" if nodule and patient and not scan else nodule
