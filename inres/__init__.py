"""inres: find the most similar cases in an archive of lung CT for a given location.

Example::

    import inres

    archive = inres.Archive.open("runs/phantom")
    hits = archive.search_scan("patient.mhd", world_mm=(-100.6, 67.3, -231.8), k=10)
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_PUBLIC = {
    "Archive": "inres.archive",
    "Config": "inres.config",
    "ConfigError": "inres.config",
    "Hit": "inres.searching.hits",
    "Hits": "inres.searching.hits",
    "Query": "inres.searching.hits",
    "SearchOptions": "inres.searching.hits",
    "ScanError": "inres.ct.header",
    "StageError": "inres.pipeline.stages",
    "export_run": "inres.pipeline.export",
}
"""Public names and their modules, imported on first use: worker processes do not need JAX."""

__all__ = [*_PUBLIC]

if TYPE_CHECKING:
    from inres.archive import Archive as Archive
    from inres.config import Config as Config
    from inres.config import ConfigError as ConfigError
    from inres.ct.header import ScanError as ScanError
    from inres.pipeline.export import export_run as export_run
    from inres.pipeline.stages import StageError as StageError
    from inres.searching.hits import Hit as Hit
    from inres.searching.hits import Hits as Hits
    from inres.searching.hits import Query as Query
    from inres.searching.hits import SearchOptions as SearchOptions


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
