"""Synthetic chest CT in LUNA16's layout, written first unless `config.data.root` names it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inres.config import Config, Data
from inres.phantoms import dataset
from inres.sources import Progress, Scans, Source, luna16, register


def read(root: Path, data: Data, progress: Progress) -> Scans:
    """Scans and findings of a written data set, whose counts are not LUNA16's."""
    return luna16.read(root, dataclasses.replace(data, expect_counts="off"), progress)


def write(root: Path, config: Config, workers: int) -> None:
    """Write the scans of `config.phantom`; whole scans that exist are kept."""
    dataset.write_dataset(root, config.phantom, seed=config.data.seed, workers=workers)


def written_from(config: Config) -> Mapping[str, Any]:
    """The settings that a phantom depends on."""
    return {"phantom": dataclasses.asdict(config.phantom), "data": {"seed": config.data.seed}}


register(
    Source(
        name="phantom",
        title="synthetic scans",
        read=read,
        files=luna16.files,
        lung_mask=luna16.lung_mask,
        write=write,
        written_from=written_from,
    ),
    module=__name__,
)
