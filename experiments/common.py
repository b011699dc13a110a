"""Shared by all entry points: flags, the workdir, and errors as one line instead of a traceback."""

import contextlib
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

# Messages of XLA's and TensorStore's native code contain nothing that a user can act on.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import app, flags, logging
from ml_collections import config_flags

from inres import config as config_lib
from inres.config import Config
from inres.pipeline import growing, stages, workdir
from inres.pipeline.prepare import data_root, describe_data, writes_scans
from inres.system import distributed, together
from inres.system.compile_cache import keep_programs
from inres.system.files import FULL_DISK
from inres.system.memory import keep_freed_memory

CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment's config file.")
WORKDIR = flags.DEFINE_string("workdir", None, "Directory of all results.")
REDO = flags.DEFINE_list("redo", [], "Stages to compute again, with all that follow them.")
COMPILE_CACHE = flags.DEFINE_string(
    "compile_cache",
    None,
    "Where compiled programs are kept between commands: a directory, or off. Default: "
    "INRES_COMPILE_CACHE, else the user's cache directory.",
)
SCHEDULER = flags.DEFINE_string(
    "scheduler",
    "",
    "Address of a Dask scheduler whose workers prepare the scans (config.data.scheduler).",
)
COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "Of several processes: HOST:PORT of process 0. Slurm and others give it "
    "(experiments/README.md, Several devices and processes).",
)
PROCESSES = flags.DEFINE_integer(
    "processes", None, "Number of processes of this command; 1: one, whatever the environment says."
)
PROCESS = flags.DEFINE_integer("process", None, "Of several processes: number of this one, from 0.")
T = TypeVar("T")
DEBUG = flags.DEFINE_bool("debug", False, "Show the traceback of an error.")


def launch(run: Callable[[Config, Path], None]) -> None:
    """Parse flags, check the config, hold the workdir and call `run(config, workdir)`."""

    def work(arguments: list[str]) -> None:
        refuse_arguments(arguments)
        keep_freed_memory()
        given = given_config(Config)
        given.data.scheduler = SCHEDULER.value or given.data.scheduler
        config = config_lib.checked(given)
        root = workdir_path()
        with stages.lock(root):
            workdir.require_own(root)
            with requested_redo(root, config):
                run(config, root)
            workdir.describe(root, config, command=command_line())

    launch_with_arguments(work, required=("config", "workdir"), optional=("redo", "scheduler"))


def launch_with_arguments(
    run: Callable[[list[str]], None],
    *,
    required: Sequence[str] = (),
    optional: Sequence[str] = (),
    joins: bool = True,
) -> None:
    """Parse flags and call `run` with the other arguments; an error ends in one line.

    Of several processes, process 0 calls `run`, and the others help it (`system.together`).

    Args:
      run: the command.
      required: flags of this module without which nothing runs.
      optional: further flags of this module that --help shows with the command's own.
      joins: whether the process computes, perhaps as one of several; one that only starts others
        must not choose their directory of compiled programs, which depends on their cores.
    """

    def main(argv: list[str]) -> None:
        logging.set_verbosity(logging.ERROR)
        for stream in (sys.stdout, sys.stderr):  # names are in any script
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            if joins:
                keep_programs(COMPILE_CACHE.value)
                at = distributed.place(COORDINATOR.value, PROCESSES.value, PROCESS.value)
                distributed.join(at)
            together.run(lambda: run(argv[1:]), silent=not DEBUG.value)
        except KeyboardInterrupt:
            # A device thread interrupted inside a program can crash the teardown.
            said = f"interrupted; run {_same_command()} to continue"
            _end_now(said if together.leads() else "", 130)
        except together.Ended:
            sys.exit(1)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            if DEBUG.value:
                raise
            place = "" if together.leads() else f"process {together.index()}: "
            print(f"error: {place}{explain(error)}", file=sys.stderr)
            sys.exit(1)

    flags.mark_flags_as_required(required)
    shared = ("coordinator", "processes", "process") if joins else ()
    for name in (*required, *optional, *shared, "compile_cache", "debug"):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])
    _run(main)


def _run(main: Callable[[list[str]], None]) -> None:
    """As `app.run`, but one of several processes that fails ends at once.

    Python would have JAX wait for the others first, which have ended or wait for this one.
    """
    try:
        app.run(main, flags_parser=_parse)
    except BaseException as error:
        status = error.code if isinstance(error, SystemExit) else 1
        if together.count() == 1 or not status:
            raise
        if not isinstance(error, SystemExit):
            traceback.print_exc()
        _end_now("", status if isinstance(status, int) else 1)


def _end_now(message: str, status: int) -> NoReturn:
    """Print a message and end, without waiting for threads or other processes."""
    if message:
        print(message, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(status)


def _parse(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        text = str(error)
        if missing := re.match(r"flag --(\w+)=None: .* must have a value other than None", text):
            text = f"--{missing[1]} is missing; see --help"
        print(f"error: {text}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:  # anything that a config file raises
        if "--debug" in argv:
            raise
        text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        print(f"error: {kind}{text}", file=sys.stderr)
        sys.exit(1)


def refuse_arguments(arguments: Sequence[str]) -> None:
    """Refuse arguments that are no flags.

    Raises:
      UsageError: there are some.
    """
    if arguments:
        raise app.UsageError(f"unknown argument {arguments[0]!r}; flags begin with --")


def given_config(kind: type[T]) -> T:
    """The config of --config, which must be of the given kind.

    Raises:
      ConfigError: there is no such file, or it gives something else.
    """
    config = CONFIG.value
    if isinstance(config, kind):
        return config
    path = str(config_flags.get_config_filename(flags.FLAGS["config"])).partition(":")[0]
    what = f"its get_config() gives no {kind.__name__}" if Path(path).is_file() else "no such file"
    raise config_lib.ConfigError(f"--config={path}: {what}")


def workdir_path() -> Path:
    """The workdir that --workdir names."""
    return Path(str(WORKDIR.value)).expanduser().resolve()


def command_line() -> str:
    """The command as it was typed."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    module = spec.name.removesuffix(".__main__") if spec else Path(sys.argv[0]).name
    return " ".join(["python", "-m", module, *sys.argv[1:]])


def explain(error: BaseException) -> str:
    """An error as one message with a remedy in terms of the command line."""
    if isinstance(error, OSError) and error.errno in FULL_DISK:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; run {_same_command()} to continue where it stopped"
    if isinstance(error, OSError) and error.filename and str(error).startswith("[Errno"):
        return f"{error.filename}: {error.strerror}; correct or choose another path"
    if isinstance(error, MemoryError):
        return f"not enough memory ({error}); close other programs, or use a larger machine"
    if isinstance(error, together.Lost):
        return f"{error}; run {_same_command()} to continue"
    if isinstance(error, stages.Changed):
        return f"{error}; use another --workdir, or --redo={error.stage} to compute it again"
    return str(error) or repr(error)


def _same_command() -> str:
    """How to continue: with --redo, completed stages would be computed once more."""
    return "the same command without --redo" if REDO.value else "the same command again"


@contextlib.contextmanager
def requested_redo(root: Path, config: Config) -> Iterator[None]:
    """Check that `config` belongs to the workdir, and have the stages of --redo computed again.

    Nothing is requested before every check has passed, and the request is withdrawn if the command
    is refused before it has computed anything.

    Raises:
      Changed: a stage that is not computed again was made with another config.
      ValueError, FileNotFoundError: --redo names no stage, or the data is not there.
    """
    if (root / workdir.CONFIG).is_file():
        workdir.read_config(root)  # refuses workdirs of other versions
    pending, wanted = stages.pending_redo(root), stages.to_redo(root, REDO.value)
    workdir.require_same_config(root, config, redo={*pending, *wanted})
    if "prepare" in wanted and not writes_scans(config):
        describe_data(config, data_root(config, root))  # refuses data that is not there
    if "index" in wanted:
        growing.require_nothing_added(root / "index" / "archive")
    stages.request_redo(root, wanted)
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise  # with some space freed, the same command continues
        stages.withdraw_redo(root, [stage for stage in wanted if stage not in pending])
        raise
