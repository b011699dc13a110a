"""What every entry point shares: flags, the workdir, one clear error instead of a traceback."""

import dataclasses
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# The log of XLA's and TensorStore's native code says nothing a user can act on.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import app, flags, logging
from ml_collections import config_flags

from inres import config as config_lib
from inres import sources
from inres.config import Config
from inres.pipeline import stages
from inres.system import files
from inres.system.compile_cache import keep_programs
from inres.system.memory import keep_freed_memory

CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment's config file.")
WORKDIR = flags.DEFINE_string("workdir", None, "Directory of all results.")
REDO = flags.DEFINE_list("redo", [], "Stages to make anew, with all that follow them.")
DEBUG = flags.DEFINE_bool("debug", False, "Show the traceback of an error.")
COMPILE_CACHE = flags.DEFINE_string(
    "compile_cache",
    None,
    "Directory in which compiled programs are kept between commands, or off "
    "(default: $INRES_COMPILE_CACHE, then the user's cache directory).",
)

STAGES = ("scans", "prepare", "split", "segment", "train", "index", "evaluation")


def launch(run: Callable[[Config, Path], None], *, reads_only: bool = False) -> None:
    """Parse flags, check the config, hold the workdir, run; errors end in one line.

    An entry point that `reads_only` neither holds the workdir nor leaves its config there, and
    must be given the config that the workdir was made with, but for how `search` asks.
    """

    def work(arguments: list[str]) -> None:
        if arguments:
            raise app.UsageError(f"unknown argument {arguments[0]!r}; flags begin with --")
        keep_freed_memory()
        config = config_lib.checked(CONFIG.value)
        workdir = Path(str(WORKDIR.value)).expanduser().resolve()
        if reads_only:
            _same_config(workdir, config)
            run(config, workdir)
            return
        with stages.lock(workdir):
            redo(workdir)
            check_stages(workdir, config)
            run(config, workdir)
            describe(workdir, config)

    optional = () if reads_only else ("redo",)
    launch_with_arguments(work, required=("config", "workdir"), optional=optional)


def launch_with_arguments(
    run: Callable[[list[str]], None],
    *,
    required: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> None:
    """Parse flags and give `run` what else is on the command line; errors end in one line.

    Without the flags `required` nothing runs. These and the `optional` ones of this module are
    shown by --help, which else shows those of the command's own module.
    """

    def main(argv: list[str]) -> None:
        logging.set_verbosity(logging.ERROR)
        try:
            keep_programs(COMPILE_CACHE.value)
            run(argv[1:])
        except KeyboardInterrupt:
            print(f"interrupted; run {_same_command()} to go on", file=sys.stderr, flush=True)
            sys.stdout.flush()
            os._exit(130)  # a device thread broken off in a program can crash the teardown
        except (ValueError, OSError, RuntimeError) as error:
            if DEBUG.value:
                raise
            print(f"error: {explain(error)}", file=sys.stderr)
            sys.exit(1)

    flags.mark_flags_as_required(required)
    for name in (*required, *optional, "compile_cache", "debug"):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])
    app.run(main, flags_parser=_parse)


def explain(error: BaseException) -> str:
    """One message with a remedy, also for errors of the system."""
    if isinstance(error, OSError) and error.errno == 28:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; run {_same_command()} to go on where it stopped"
    return str(error) or repr(error)


def _same_command() -> str:
    """How to go on; --redo would remove once more what was made anew."""
    return "the same command without --redo" if REDO.value else "the same command again"


def _parse(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except (flags.Error, KeyError, AttributeError, TypeError, ValueError, OSError) as error:
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"error: {text}", file=sys.stderr)
        sys.exit(1)


def redo(workdir: Path) -> None:
    """Remove what --redo names from `workdir`, with all that follows."""
    for stage in REDO.value:
        if stage not in STAGES:
            raise ValueError(f"--redo={stage}: must be among {', '.join(STAGES)}")
    if REDO.value:
        for stage in STAGES[min(STAGES.index(stage) for stage in REDO.value) :]:
            stages.forget(workdir, stage)


def check_stages(workdir: Path, config: Config) -> None:
    """Refuse a config with which a stage that is finished was not made, whichever is to be run.

    Else `config.json`, which search and report go by, would not be that of the results.

    Raises:
      StageError: names the stage and the fields that differ.
    """
    asked = stages.flat(json.loads(json.dumps(config_lib.to_dict(config), default=list)))
    for stage in STAGES:
        path = workdir / stage / "stage.json"
        made = stages.flat(files.read_json(path)["inputs"]) if path.is_file() else {}
        if stage == "scans":
            made.pop("seed", None)  # the data's, not the config's own
        now = {name: asked[name] for name in made if name in asked}
        before = {name: made[name] for name in now}
        if before != now:
            raise stages.StageError(
                f"{path.parent} was made with another config: {stages.difference(before, now)}; "
                f"use another --workdir, or --redo={stage} to make it anew"
            )


def _same_config(workdir: Path, config: Config) -> None:
    path = workdir / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; run the stages in this workdir first")
    made, asked = (config_lib.to_dict(some) for some in (read_config(path), config))
    for values in (made, asked):  # the index holds the features by which it ranks
        values["search"] = {"features": values["search"]["features"]}
        del values["pdf"]
    if made != asked:
        raise stages.StageError(
            f"{path}: the workdir was made with another config: "
            + stages.difference(made, asked)
            + "; give the same --config and flags"
        )


def read_config(path: Path) -> Config:
    """The config that a workdir's `config.json` holds.

    Raises:
      StageError: it has fields or values that this version does not know.
    """
    try:
        return config_lib.from_dict(files.read_json(path))
    except config_lib.ConfigError as error:
        raise stages.StageError(
            f"{path}: written by another version of this program ({error}); use that version "
            "(git_revision in environment.json), or another workdir"
        ) from None


def describe(workdir: Path, config: Config) -> None:
    """Write the config and the environment of a run beside its results."""
    files.write_json(workdir / "config.json", config_lib.to_dict(config))
    describe_environment(workdir)


def describe_environment(workdir: Path) -> None:
    """Write command, machine and versions beside the results, if any are newer than what is told.

    Results that were there already are not of this command, and of another version maybe.
    """
    path = workdir / "environment.json"
    made = [mark.stat().st_mtime_ns for mark in workdir.glob("*/stage.json")]
    if path.is_file() and max(made, default=0) < path.stat().st_mtime_ns:
        return
    packages = ("jax", "jaxlib", "flax", "optax", "numpy", "SimpleITK", "orbax-checkpoint", "grain")
    environment = {
        "command": " ".join(["python", "-m", _module(), *sys.argv[1:]]),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": str(os.cpu_count()),
        "git_revision": _git_revision(),
        **{name: importlib.metadata.version(name) for name in packages},
    }
    files.write_json(path, environment)


def _module() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec else Path(sys.argv[0]).name


def _git_revision() -> str:
    root = Path(__file__).resolve().parents[1]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def workers(config: Config) -> int:
    """Processes to use for scans."""
    return config.data.workers or len(os.sched_getaffinity(0))


def data_root(config: Config, workdir: Path) -> Path:
    """Where the scans or images are."""
    source = sources.get(config.data.kind)
    return source.root_of(config.data, written=workdir / "scans")


def part(section: Any, *names: str) -> dict[str, Any]:
    """Some fields of a config section, as inputs of a stage; none named: all."""
    values = dataclasses.asdict(section)
    return {name: values[name] for name in names} if names else values


def messages(root: Path) -> list[str]:
    """What a stage's meta.json wants the user to know."""
    path = root / "meta.json"
    return files.read_json(path).get("messages", []) if path.is_file() else []
