"""What the report is about: a workdir as the stages left it."""

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
    """What the report is about; absent files are empty."""

    workdir: Path
    metrics: dict[str, Any]
    curves: dict[str, Any]
    galleries: list[dict[str, str]]
    config: dict[str, Any]
    environment: dict[str, Any]

    @property
    def name(self) -> str:
        """As configured, or that of the workdir."""
        return str(self.config.get("name") or self.workdir.name)

    @property
    def pdf(self) -> bool:
        """Whether figures are to be PDFs, too."""
        source = self.config or self.json(f"evaluation/{runs.JUDGED}")
        return bool(source.get("pdf", True))

    @property
    def names(self) -> list[str]:
        """Names of the classes."""
        count = max((len(c) for c in self.metrics.get("dataset", {}).values()), default=0)
        return [str(name) for name in self.curves.get("class_names", range(count))]

    @property
    def paper_classes(self) -> bool:
        """Whether the paper's numbers by class may stand beside these."""
        return self.names == list(CLASS_NAMES)

    def json(self, path: str) -> dict[str, Any]:
        """What a file of the workdir holds; nothing where it is absent."""
        return _json(self.workdir / path)

    def ranking(self, name: str, key: str) -> float | None:
        """A measure of a ranking; None where there is none."""
        return self.metrics.get("rankings", {}).get(name, {}).get(key)

    def ends(self, *path: str) -> Sequence[float] | None:
        """An interval of `metrics.json`; None where there is none."""
        found: Any = self.metrics.get("intervals") or {}
        for key in path:
            found = (found or {}).get(key)
        return found


def read_run(workdir: Path) -> Run:
    """What the stages left in `workdir`.

    Raises:
      FileNotFoundError: there is no `evaluation/metrics.json`.
      ValueError: a file is damaged; the message names it.
    """
    workdir = Path(workdir)
    path = workdir / "evaluation" / "metrics.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; run the evaluate stage first")
    return Run(
        workdir,
        files.read_json(path),
        _json(workdir / "evaluation" / "curves.json"),
        _galleries(workdir / "evaluation" / "galleries.csv"),
        _json(workdir / "config.json"),
        _json(workdir / "environment.json"),
    )


def _json(path: Path) -> dict[str, Any]:
    return files.read_json(path) if path.is_file() else {}


def _galleries(path: Path) -> list[dict[str, str]]:
    return files.read_csv(path, ("figure", "name", "scan")) if path.is_file() else []


def drawn(run: Run, name: str, figure: Any, caption: str) -> str:
    """Save a figure made for the report beside it, and show it."""
    style.save(figure, run.workdir / "figures" / name, pdf=run.pdf)
    return page.figure(run.workdir / "figures" / name, caption, wide=True)
