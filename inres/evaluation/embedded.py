"""One side of a search as the evaluation sees it: truth, codes and features of N items."""

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class Embedded:
    """One side of a search: N items, their truth and what the network made of them."""

    labels: np.ndarray
    """int32 [N], the class, 0 meaning no nodule."""
    scans: np.ndarray
    """str [N]; empty where unknown, which is nobody's own scan."""
    diameters_mm: np.ndarray
    """float [N], 0 for no nodule, NaN where unknown."""
    bits: np.ndarray
    """bool [N, h], the code."""
    features: Mapping[str, np.ndarray]
    """Numbers [N, D] by name: `fc1`, `fc2` (activations of H), `fc3` (logits), `fc1_fc3`,
    `embedding` (another program's vectors), `pixels`, `hog`."""
    names: np.ndarray
    """str [N], where an item comes from."""
    codes: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """bool [N, h] by name: other codes, as `latent` (H at 0.5, where the code is another), `alone`
    (the queries' without their neighbouring slices) and `itq_fc1`."""
    malignancy: np.ndarray | None = None
    """float [N], ratings 1 to 5, NaN where unknown; None: nowhere known."""
    nodules: np.ndarray | None = None
    """str [N], the annotation, empty for normal items; None: nowhere known."""
    patients: np.ndarray | None = None
    """str [N], empty where unknown. If given, they replace the scans as `groups`."""

    def __post_init__(self) -> None:
        columns = {
            "scans": (self.scans, 1),
            "diameters_mm": (self.diameters_mm, 1),
            "bits": (self.bits, 2),
            "names": (self.names, 1),
            **{f"features[{name!r}]": (value, 2) for name, value in self.features.items()},
            **{f"codes[{name!r}]": (value, 2) for name, value in self.codes.items()},
        }
        for name in ("malignancy", "nodules", "patients"):
            if getattr(self, name) is not None:
                columns[name] = (getattr(self, name), 1)
        if np.ndim(self.labels) != 1 or len(self.labels) == 0:
            raise ValueError(f"labels must be [N >= 1], got shape {np.shape(self.labels)}")
        for name, (value, ndim) in columns.items():
            if np.ndim(value) != ndim or len(value) != len(self.labels):
                raise ValueError(
                    f"{name} must be {ndim}-dimensional with {len(self.labels)} rows, one a "
                    f"label; got shape {np.shape(value)}"
                )
        for name, value in {"bits": self.bits, **self.codes}.items():
            if np.asarray(value).dtype != bool:
                raise ValueError(f"{name} must be bool, got {np.asarray(value).dtype}")
        for name, value in self.features.items():
            if not np.isfinite(value).all():
                raise ValueError(f"features[{name!r}] hold NaN or infinity; nothing can rank them")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def all_codes(self) -> dict[str, np.ndarray]:
        """The code under its ranking's name, `hamming`, and those of the baselines."""
        return {"hamming": self.bits, **self.codes}

    @property
    def groups(self) -> np.ndarray:
        """Items of the query's own group are not returned, str [N]: patients if given, or scans."""
        return self.scans if self.patients is None else self.patients

    def with_codes(self, codes: Mapping[str, np.ndarray]) -> "Embedded":
        """The same items with further codes, bool [N, h] by name."""
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
        )
