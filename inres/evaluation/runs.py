"""Results of a run query by query: on disk, matched between runs, and pooled over folds.

`<workdir>/evaluation/per_query.npz` contains
  names                 str [Q], name of each query, the same in every run on the same data
  patients              str [Q], the patient of each query, or its scan; empty where unknown
  labels                int32 [Q], the class
  <ranking>/<measure>   float64 [Q] each, NaN where the measure is undefined
"""

import dataclasses
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inres.system import files

FILE = "per_query.npz"
JUDGED = "judged.json"
"""File next to it if the vectors are from another program: what was evaluated, and how."""
_PATIENTS = ("patients", "scans")
"""Names of the column of patients: the current one, and that of older files."""


@dataclasses.dataclass(frozen=True)
class Run:
    """The per-query results of a run; Q queries."""

    names: np.ndarray
    """str [Q], all different."""
    patients: np.ndarray
    """str [Q], the patient of each query, or its scan; empty where unknown."""
    labels: np.ndarray
    """int32 [Q]"""
    values: Mapping[str, Mapping[str, np.ndarray]]
    """By ranking and measure, float64 [Q], NaN where undefined."""

    def __post_init__(self) -> None:
        names, counts = np.unique(self.names, return_counts=True)
        if (counts > 1).any():
            raise ValueError(f"query {names[counts > 1][0]} is present {counts.max()} times")
        arrays = {"patients": self.patients, "labels": self.labels} | {
            f"{ranking}/{measure}": array
            for ranking, measures in self.values.items()
            for measure, array in measures.items()
        }
        for name, array in arrays.items():
            if np.shape(array) != self.names.shape:
                raise ValueError(f"{name} is {np.shape(array)} for {len(self.names)} queries")

    def __len__(self) -> int:
        return len(self.names)

    def measure(self, ranking: str, measure: str) -> np.ndarray:
        """One measure of one ranking, float64 [Q].

        Raises:
          ValueError: the run lacks it; lists what it has.
        """
        for name, there in ((ranking, self.values), (measure, self.values.get(ranking, {}))):
            if name not in there:
                raise ValueError(f"no {name!r} in this run (has {', '.join(there)})")
        return self.values[ranking][measure]

    def extended(self, values: Mapping[str, Mapping[str, np.ndarray]]) -> "Run":
        """The same queries with more measures, by ranking and measure, float64 [Q]."""
        return dataclasses.replace(
            self, values={name: {**own, **values[name]} for name, own in self.values.items()}
        )

    def take(self, rows: np.ndarray) -> "Run":
        """The queries `rows`, in that order."""
        values = {
            ranking: {measure: array[rows] for measure, array in measures.items()}
            for ranking, measures in self.values.items()
        }
        return Run(self.names[rows], self.patients[rows], self.labels[rows], values)


def write(root: Path, run: Run) -> None:
    """Write `run` to the file `FILE` in the folder `root`."""
    columns: dict[str, Any] = {
        "names": np.asarray(run.names, str),
        "patients": np.asarray(run.patients, str),
        "labels": np.asarray(run.labels, np.int32),
    }
    for ranking, measures in run.values.items():
        for measure, array in measures.items():
            columns[f"{ranking}/{measure}"] = np.asarray(array, np.float64)
    with files.atomic_path(root / FILE) as part:
        np.savez_compressed(part, **columns)


def read(root: Path) -> Run:
    """Read the run in the folder `root`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged.
    """
    path = root / FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; run the evaluation")
    try:
        with np.load(path) as stored:
            arrays = {name: stored[name] for name in stored.files}
        names, labels = arrays.pop("names"), arrays.pop("labels")
        patients = arrays.pop(next((name for name in _PATIENTS if name in arrays), _PATIENTS[0]))
        values: dict[str, dict[str, np.ndarray]] = {}
        for name, array in arrays.items():
            ranking, measure = name.split("/", 1)
            values.setdefault(ranking, {})[measure] = array
        return Run(names, patients, labels, values)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: damaged ({error}); run the evaluation again") from None


def aligned(runs: Mapping[str, Run]) -> dict[str, Run]:
    """The same runs, all with their queries in the order of the first.

    Raises:
      ValueError: two runs differ in queries, patients or labels; names the first difference.
    """
    out: dict[str, Run] = {}
    for name, run in runs.items():
        if not out:
            first, base = name, run
            out[name] = run
            continue
        for label, only in (
            (first, np.setdiff1d(base.names, run.names)),
            (name, np.setdiff1d(run.names, base.names)),
        ):
            if len(only):
                shown = ", ".join(only[:3]) + (", ..." if len(only) > 3 else "")
                raise ValueError(
                    f"{first} ({len(base)} queries) and {name} ({len(run)}) have different "
                    f"queries; {len(only)} are only in {label}: {shown}. Runs can only be compared "
                    "over the same queries; use the same data and split for both"
                )
        rows = np.argsort(run.names)[np.argsort(np.argsort(base.names))]
        run = run.take(rows)
        for column in ("patients", "labels"):
            differ = np.flatnonzero(getattr(run, column) != getattr(base, column))
            if len(differ):
                row = differ[0]
                raise ValueError(
                    f"{first} and {name} differ in {column} of {len(differ)} queries, first "
                    f"{base.names[row]}: {getattr(base, column)[row]} and "
                    f"{getattr(run, column)[row]}; these runs are not on the same data"
                )
        out[name] = run
    return out


def pool(runs: Sequence[Run]) -> Run:
    """Join the queries of all runs, such as the folds of a cross-validation, into one run.

    Only measures that all runs have are kept.

    Raises:
      ValueError: a query is in two runs.
    """

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(run, name) for run in runs])

    values = {
        ranking: {
            measure: np.concatenate([run.values[ranking][measure] for run in runs])
            for measure in measures
            if all(measure in run.values.get(ranking, {}) for run in runs)
        }
        for ranking, measures in runs[0].values.items()
    }
    kept = {ranking: measures for ranking, measures in values.items() if measures}
    return Run(joined("names"), joined("patients"), joined("labels"), kept)
