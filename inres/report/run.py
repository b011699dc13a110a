"""Subject of the report: a workdir with the files of its stages."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inres.evaluation import runs
from inres.figures import style
from inres.report import page
from inres.system import files
from inres.vocabulary import CLASS_NAMES


@dataclasses.dataclass(frozen=True)
class Run:
    """Content of the files that the report needs; missing files are empty."""

    workdir: Path
    metrics: dict[str, Any]
    curves: dict[str, Any]
    galleries: list[dict[str, str]]
    config: dict[str, Any]
    environment: dict[str, Any]

    @property
    def name(self) -> str:
        """Name from the config, or else of the workdir."""
        return str(self.config.get("name") or self.workdir.name)

    @property
    def pdf(self) -> bool:
        """Also write figures as PDF."""
        source = self.config or self.json(f"evaluation/{runs.JUDGED}")
        return bool(source.get("pdf", True))

    @property
    def names(self) -> list[str]:
        """Names of the classes."""
        count = max((len(c) for c in self.metrics.get("dataset", {}).values()), default=0)
        return [str(name) for name in self.curves.get("class_names", range(count))]

    @property
    def paper_classes(self) -> bool:
        """The classes are those of the paper, so its numbers by class can be compared."""
        return self.names == list(CLASS_NAMES)

    def json(self, path: str) -> dict[str, Any]:
        """Content of a JSON file of the workdir; empty if it is missing."""
        return _json(self.workdir / path)

    def ranking(self, name: str, key: str) -> float | None:
        """A number of a ranking by its key in `metrics.json`; None if unknown."""
        return self.metrics.get("rankings", {}).get(name, {}).get(key)

    def ends(self, *path: str) -> Sequence[float] | None:
        """An entry below `intervals` in `metrics.json`; None if there is none."""
        found: Any = self.metrics.get("intervals") or {}
        for key in path:
            found = (found or {}).get(key)
        return found


def read_run(workdir: Path) -> Run:
    """Read the files of the stages in `workdir`.

    Raises:
      FileNotFoundError: there is no `evaluation/metrics.json`.
      ValueError: a file is damaged; the message names it.
    """
    workdir = Path(workdir)
    path = workdir / "evaluation" / "metrics.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; run the evaluation first")
    return Run(
        workdir,
        files.read_object(path),
        _json(workdir / "evaluation" / "curves.json"),
        _galleries(workdir / "evaluation" / "galleries.csv"),
        _json(workdir / "config.json"),
        _json(workdir / "environment.json"),
    )


def _json(path: Path) -> dict[str, Any]:
    return files.read_object(path) if path.is_file() else {}


def _galleries(path: Path) -> list[dict[str, str]]:
    return files.read_csv(path, ("figure", "name", "scan")) if path.is_file() else []


def drawn(run: Run, name: str, figure: Any, caption: str) -> str:
    """Save a figure of the report in `<workdir>/figures`, and embed it."""
    style.save(figure, run.workdir / "figures" / name, pdf=run.pdf)
    return page.figure(run.workdir / "figures" / name, caption, wide=True)
