"""Stage `prepare`: scans or images become items (paper, section 4.1).

Synthetic scans are written first, as the stage `scans`.
"""

from pathlib import Path
from typing import Any

from inres import sources
from inres.config import Config
from inres.data import item_store, prepare
from inres.pipeline import stages
from inres.pipeline.inputs import stage_inputs
from inres.system import files
from inres.system.processes import cores


def prepare_items(config: Config, workdir: Path) -> None:
    """Write the item store, `<workdir>/prepare`, unless it is complete.

    Raises:
      FileNotFoundError: the data is not there.
      ConfigError: `config.data.root` is empty, and the data is not synthetic.
      ValueError: the data is wrong or damaged; names file, value and remedy.
    """
    root = data_root(config, workdir)
    inputs = stage_inputs(config, "prepare")
    if writes_scans(config):
        inputs["upstream.scans"] = write_scans(config, workdir)
    else:
        inputs[stages.FILES] = describe_data(config, root)
    stages.run_stage(
        workdir,
        "prepare",
        inputs,
        lambda out: _prepare(config, root, out),
        may_change=(stages.FILES,) if prepare.files_may_change(config) else (),
    )


def data_root(config: Config, workdir: Path) -> Path:
    """The folder of the scans or images.

    Raises:
      ConfigError: `config.data.root` is empty, and the data is not synthetic.
    """
    return sources.get(config.data.kind).root_of(config.data, written=workdir / "scans")


def describe_data(config: Config, root: Path) -> str:
    """A fingerprint of the files in `root` on which the items depend.

    Raises:
      FileNotFoundError: there is no folder `root`, or files are missing that its table names.
    """
    return stages.describe_files(prepare.input_files(config, root), root)


def writes_scans(config: Config) -> bool:
    """Whether the run writes its scans itself, because they are synthetic."""
    return sources.get(config.data.kind).write is not None and not config.data.root


def write_scans(config: Config, workdir: Path) -> str:
    """Write synthetic scans to `<workdir>/scans` unless complete; returns a fingerprint."""
    write = sources.get(config.data.kind).write
    assert write is not None
    return stages.run_stage(
        workdir,
        "scans",
        stage_inputs(config, "scans"),
        lambda out: write(out, config, worker_count(config)),
    )


def worker_count(config: Config) -> int:
    """Number of processes that write or prepare scans."""
    return config.data.workers or cores()


def _prepare(config: Config, root: Path, out: Path) -> None:
    prepare.prepare(config, root=root, out=out, workers=worker_count(config))
    store = item_store.open_store(out)
    print(f"  {len(store.items)} items of {len(set(store.column('scan')))} scans")
    messages: list[Any] = files.read_object(out / "meta.json").get("messages", [])
    for message in messages:
        print(f"  note: {message}")
