"""One side of a search as the evaluation needs it: truth, codes and features of N items."""

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class Embedded:
    """One side of a search: N items with their truth, codes and features."""

    labels: np.ndarray
    """int32 [N], the class; 0 is no nodule."""
    scans: np.ndarray
    """str [N]; empty where unknown. An unknown scan equals no other."""
    diameters_mm: np.ndarray
    """float [N], 0 for no nodule, NaN where unknown."""
    bits: np.ndarray
    """bool [N, h], the code."""
    features: Mapping[str, np.ndarray]
    """Numbers [N, D] by name: `fc1`, `fc2` (activations of H), `fc3` (logits), `fc1_fc3`,
    `embedding` (another program's vectors), `pixels`, `hog`."""
    names: np.ndarray
    """str [N], the origin of each item."""
    codes: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """Other codes by name, bool [N, h]: `latent` (H at 0.5, if the searched code is another),
    `alone` (queries without their neighbouring slices), `itq_fc1` and so on."""
    malignancy: np.ndarray | None = None
    """float [N], ratings 1 to 5, NaN where unknown; None if all are unknown."""
    nodules: np.ndarray | None = None
    """str [N], the annotation, empty for normal items; None if all are unknown."""
    patients: np.ndarray | None = None
    """str [N], empty where unknown. If given, they replace the scans as `groups`."""
    items: np.ndarray | None = None
    """int [N], rows of the item table, counted from 0; None if there is no such table."""
    properties: Mapping[str, np.ndarray] | None = None
    """Numbers by which similarity is measured, by name: float64 [N], NaN where unknown (a diameter
    of 0, no nodule, counts as unknown); None if there are none."""

    def __post_init__(self) -> None:
        columns = {
            "scans": (self.scans, 1),
            "diameters_mm": (self.diameters_mm, 1),
            "bits": (self.bits, 2),
            "names": (self.names, 1),
            **{f"features[{name!r}]": (value, 2) for name, value in self.features.items()},
            **{f"codes[{name!r}]": (value, 2) for name, value in self.codes.items()},
            **{f"properties[{n!r}]": (value, 1) for n, value in (self.properties or {}).items()},
        }
        for name in ("malignancy", "nodules", "patients", "items"):
            if getattr(self, name) is not None:
                columns[name] = (getattr(self, name), 1)
        if np.ndim(self.labels) != 1 or len(self.labels) == 0:
            raise ValueError(f"labels must be [N >= 1], got shape {np.shape(self.labels)}")
        for name, (value, ndim) in columns.items():
            if np.ndim(value) != ndim or len(value) != len(self.labels):
                raise ValueError(
                    f"{name} must be {ndim}-dimensional with {len(self.labels)} rows, one per "
                    f"label; got shape {np.shape(value)}"
                )
        for name, value in {"bits": self.bits, **self.codes}.items():
            if np.asarray(value).dtype != bool:
                raise ValueError(f"{name} must be bool, got {np.asarray(value).dtype}")
        for name, value in self.features.items():
            if not np.isfinite(value).all():
                raise ValueError(f"features[{name!r}] contain NaN or infinity and cannot be ranked")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def all_codes(self) -> dict[str, np.ndarray]:
        """All codes by name of their ranking; the searched code is `hamming`."""
        return {"hamming": self.bits, **self.codes}

    @property
    def groups(self) -> np.ndarray:
        """Items of the query's own group are not returned, str [N]: patients if given, or scans."""
        return self.scans if self.patients is None else self.patients

    def with_codes(self, codes: Mapping[str, np.ndarray]) -> "Embedded":
        """The same items with additional codes, bool [N, h] by name."""
        return dataclasses.replace(self, codes={**self.codes, **codes})

    def take(self, rows: np.ndarray) -> "Embedded":
        """The items `rows`, in that order."""
        return Embedded(
            labels=self.labels[rows],
            scans=self.scans[rows],
            diameters_mm=self.diameters_mm[rows],
            bits=self.bits[rows],
            features={name: value[rows] for name, value in self.features.items()},
            names=self.names[rows],
            codes={name: value[rows] for name, value in self.codes.items()},
            malignancy=None if self.malignancy is None else self.malignancy[rows],
            nodules=None if self.nodules is None else self.nodules[rows],
            patients=None if self.patients is None else self.patients[rows],
            items=None if self.items is None else self.items[rows],
            properties=None
            if self.properties is None
            else {name: value[rows] for name, value in self.properties.items()},
        )
