"""The folder of a run: its config, its environment, and whether a config belongs to it."""

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Collection
from pathlib import Path

from inres import config as config_lib
from inres.config import Config
from inres.pipeline import inputs, stages
from inres.system import files, together
from inres.system.checks import NotRegistered

CONFIG, ENVIRONMENT = "config.json", "environment.json"
REPORT = ("report.html", "figures")
"""What the report writes to the workdir."""
_SEARCH_ONLY = ("search.threshold", "pdf")
"""Fields that may differ when a finished run is searched."""
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "SimpleITK", "orbax-checkpoint", "grain")


def read_config(workdir: Path) -> Config:
    """The config of the run in `workdir`.

    Raises:
      FileNotFoundError: there is no run.
      StageError: the config has fields or values that this version does not know.
    """
    path = workdir / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; {workdir} holds no finished run")
    values = files.read_json(path)
    if not isinstance(values, dict):
        raise stages.StageError(f"{path}: not a config; use another workdir")
    try:
        return config_lib.from_dict(values)
    except NotRegistered as error:
        raise stages.StageError(
            f"{path}: {error}; import the module that registers it, or give its config file"
        ) from None
    except config_lib.ConfigError as error:
        raise stages.StageError(
            f"{path}: written by another version of this program ({error}); use that version "
            f"(git_revision in {ENVIRONMENT}), or another workdir"
        ) from None


def require_own(workdir: Path) -> None:
    """Check that `workdir` has no files of others where this program writes its own.

    Raises:
      StageError: there is such a file, and no stage that this program made.
    """
    if any(stages.made_here(workdir / stage) for stage in stages.STAGES):
        return
    foreign = [name for name in (CONFIG, ENVIRONMENT, *REPORT) if (workdir / name).exists()]
    if foreign:
        raise stages.StageError(
            f"{workdir / foreign[0]} exists and was not made by this program, which would replace "
            "it; use another workdir"
        )


def require_output(folder: Path, marker: str) -> None:
    """Check that results may be written to `folder`: absent, empty, or with our file `marker`.

    Raises:
      StageError: it holds something else.
    """
    if folder.exists() and not (folder / marker).is_file() and any(folder.iterdir()):
        raise stages.StageError(f"{folder} exists and holds other results; use another workdir")


def require_same_config(workdir: Path, config: Config, *, redo: Collection[str] = ()) -> None:
    """Check that every finished stage was made with `config`, but for those in `redo`.

    Without this check `config.json` would not describe the results of the workdir.

    Raises:
      Changed: a stage was made with other values; names the fields.
    """
    given = json.loads(json.dumps(dict(inputs.leaves(config)), default=list))
    for stage in stages.STAGES:
        record = None if stage in redo else stages.recorded(workdir / stage)
        before = {k: v for k, v in (record or {"inputs": {}})["inputs"].items() if k in given}
        now = {name: given[name] for name in before}
        if before != now:
            views = {before.get("items.view"), now.get("items.view")}
            raise stages.Changed(
                f"{workdir / stage} was made with another config: "
                + stages.difference(before, now),
                # Cubes are cut when items are prepared, before any stage that records the view.
                "prepare" if len(views) == 2 and "cube" in views else stage,
            )


def require_run_config(workdir: Path, config: Config) -> None:
    """Check that the run in `workdir` was made with `config`, but for how it is searched.

    Raises:
      StageError: it was made with other values; names the fields.
    """
    made, given = (dict(inputs.leaves(some)) for some in (read_config(workdir), config))
    differ = {name for name in made if made[name] != given.get(name)} - set(_SEARCH_ONLY)
    if differ:
        shown = ", ".join(f"{n} was {made[n]!r}, now {given.get(n)!r}" for n in sorted(differ)[:4])
        raise stages.StageError(
            f"{workdir / CONFIG}: the run was made with another config: {shown}; leave the config "
            "out, or give the same"
        )


def describe(workdir: Path, config: Config, *, command: str) -> None:
    """Write the config and the environment of a run to its workdir."""
    files.write_json(workdir / CONFIG, config_lib.to_dict(config))
    describe_environment(workdir, command=command)


def describe_environment(workdir: Path, *, command: str) -> None:
    """Write command, machine and versions, unless no stage is newer than the description.

    Results that are older may have been made by another version.
    """
    path = workdir / ENVIRONMENT
    made = [mark.stat().st_mtime_ns for mark in workdir.glob(f"*/{stages.DONE}")]
    if path.is_file() and max(made, default=0) < path.stat().st_mtime_ns:
        return
    environment = {
        "command": command,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": str(os.cpu_count()),
        "processes": str(together.count()),
        "git_revision": git_revision(),
        **{name: package_version(name) for name in ("inres", *_PACKAGES)},
    }
    files.write_json(path, environment)


def package_version(name: str) -> str:
    """Version of an installed package; `unknown` if it is used without being installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def git_revision() -> str:
    """Revision of the checkout that this code runs from; `unknown` outside of one."""
    root = Path(__file__).resolve().parents[2]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
