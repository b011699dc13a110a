"""Where scans, findings and images come from: one file per kind of data.

A module of this package, or an experiment's config file, adds a kind by registering a `Source`:

    from inres.sources import Finding, Scan, Scans, Source, register

    def read(root, data, progress):
        nodule = Finding("p1/0", world_mm=(-60.0, 0.0, 10.0), diameter_mm=14.0)
        return Scans((Scan("p1", root / "p1.nii.gz", nodules=(nodule,)),))

    register(Source(name="mine", title="my scans", read=read), module=__name__)

`config.data.kind = "mine"` then selects it. Importing this package imports none of its modules: a
built-in source is the module of its name, and is imported when it is first used.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from inres.system.checks import ConfigError
from inres.system.registry import Registry

# `inres.config` checks the kind of data against the names here, so it cannot be imported.
Data = Any
"""An `inres.config.Data`."""
Items = Any
"""An `inres.config.Items`."""
Config = Any
"""An `inres.config.Config`."""
Progress = Callable[..., Iterable[Any]]
"""Wraps a long loop, as `inres.system.progress.progress`."""


class SourceError(ValueError):
    """The data cannot be used; the message lists every kind of problem with its first cases."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """A marked place in a scan."""

    name: str
    """Unique over all scans."""
    world_mm: tuple[float, float, float]
    """x, y, z of the centre (LPS)."""
    diameter_mm: float
    """NaN where unknown."""
    columns: Mapping[str, float | str] = dataclasses.field(default_factory=dict)
    """What else is known, by name. Of a nodule, finite numbers become properties of its items, and
    text (never empty) becomes part of their records."""


@dataclasses.dataclass(frozen=True)
class Scan:
    """One CT series with its findings."""

    uid: str
    """Name of the series, unique over all scans."""
    path: Path
    """A file or DICOM folder that `inres.ct.scan.read_scan` reads."""
    series_uid: str = ""
    """Which DICOM series of the folder; empty: `read_scan` chooses."""
    subset: int = -1
    """Official fold, -1 where there is none."""
    nodules: tuple[Finding, ...] = ()
    """Findings that become items; their diameters are known."""
    excluded: tuple[Finding, ...] = ()
    """Findings that normal slices avoid in addition."""
    lung_mask: Path | None = None
    """A lung mask with LUNA16's labels, where there is one."""
    patient: str = ""
    """Empty where unknown: the scan then counts as a patient of its own."""
    study_date: str = ""
    """YYYYMMDD; empty where unknown."""
    split: str = ""
    """`train`, `val` or `test` where the data defines it."""
    columns: Mapping[str, float | str] = dataclasses.field(default_factory=dict)
    """What else is known of the scan as a whole; all its items have these columns, next to those of
    their findings, which take precedence."""
    spread: bool = False
    """Whether nothing is marked in this scan, so that its items are places spread evenly through
    its lungs (`items.places_per_scan`)."""


@dataclasses.dataclass(frozen=True)
class Scans:
    """All scans of a data set, their tables and headers checked."""

    scans: tuple[Scan, ...]
    messages: tuple[str, ...] = ()
    """What a reader of the results should know."""
    skipped: tuple[str, ...] = ()
    """Names of scans that were left out of `scans`, since an archive has them already."""


def scan_settings(data: Data) -> dict[str, Any]:
    """The fields of `config.data` on which items cut from scans depend."""
    return {
        "max_thickness_mm": data.max_thickness_mm,
        "kernel": data.kernel,
        "lung_masks": data.lung_masks,
        "seed": data.seed,
    }


def all_files(root: Path, data: Data) -> list[Path]:
    """Every file below `root`."""
    return [path for path in root.rglob("*") if path.is_file()]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A kind of data: the answer to every question that depends on `config.data.kind`."""

    name: str
    """The value of `config.data.kind`."""
    title: str = ""
    """In reports; empty: the name of the data's folder."""
    read: Callable[[Path, Data, Progress], Scans] | None = None
    """Describes the scans below a folder from tables and headers, reading no voxels. None: the
    folder holds images that are items already, listed in items.csv (`inres.data.folder`)."""
    files: Callable[[Path, Data], list[Path]] = all_files
    """Every file that scans and findings are read from; if one changes, the data changed."""
    settings: Callable[[Data], Mapping[str, Any]] = scan_settings
    """The fields of `config.data`, other than `kind`, on which the items depend."""
    lung_mask: Callable[[Path, Path], Path | None] | None = None
    """The lung mask of a scan (first argument) of the data in a folder (second), if it has one."""
    write: Callable[[Path, Config, int], None] | None = None
    """Writes synthetic data to a folder, with a number of processes, where `config.data.root` is
    empty. None: the data must be there."""
    written_from: Callable[[Config], Mapping[str, Any]] = lambda config: {}
    """The settings on which the result of `write` depends."""

    @property
    def ready_made(self) -> bool:
        """Whether items are images made before: of unknown pixel size, without scans to query."""
        return self.read is None

    def title_of(self, root: str | Path) -> str:
        """The title of the data in the folder `root`."""
        return self.title or Path(root).name

    def root_of(self, data: Data, *, written: Path) -> Path:
        """The folder of the data, also where `data.root` is a table in it.

        `written` is where synthetic data is written.

        Raises:
          ConfigError: `data.root` is empty, and the data is not synthetic.
        """
        if data.root:
            given = Path(data.root).expanduser().resolve()
            return given.parent if given.is_file() else given
        if self.write is None:
            what = self.title or ("images" if self.ready_made else "data")
            raise ConfigError(f"config.data.root is empty; set it to the folder of the {what}")
        return written

    def pixel_mm(self, items: Items) -> float:
        """Pixel side of stored slices in mm; 0 for ready-made images, where it is unknown."""
        return 0.0 if self.ready_made else items.spacing_mm


_REGISTRY: Registry[Source] = Registry("data source", __name__)


def register(source: Source, *, module: str) -> None:
    """Make `source` the meaning of `config.data.kind = source.name`.

    Raises:
      ValueError: another module than `module` has a source of this name.
    """
    _REGISTRY.add(source.name, source, module=module)


def names() -> tuple[str, ...]:
    """The names of all sources in alphabetical order."""
    return _REGISTRY.names()


def get(name: str) -> Source:
    """The source of a name.

    Raises:
      ValueError: there is none; lists those that exist.
    """
    return _REGISTRY.get(name)
