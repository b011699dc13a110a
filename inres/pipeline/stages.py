"""Stages of a run: results are computed once, skipped when complete and resumed when interrupted.

The results of a stage lie in `<workdir>/<stage>`, with one or both of two markers:

  begun.json   inputs of a stage that was started, and its id
  stage.json   inputs of a complete stage, its duration, its id, and the ids of the stages that it
               was made from

Without stage.json, a stage that was complete continues from the files that are there, under the
same id: so a training can resume after its last checkpoint was damaged.

A directory without a marker was not made by this program, so it is never written to, replaced or
removed. `<workdir>/redo.json` lists stages to compute again. Each is computed in
`<workdir>/.redo/<stage>` and replaces the old results when it is complete.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from inres.system import files

STAGES = ("scans", "prepare", "split", "segment", "train", "index", "evaluation")
"""Every stage of a run, in order: each depends on those before it."""

FILES = "files"
"""Name of the input that `describe_files` returns."""

SHARING = "stages-are-shared"
"""A file of this name in a folder of workdirs lets each use the finished stages of the others."""

WAIT_S = 2.0
"""Seconds between checks whether another workdir has finished a stage."""

DONE, BEGUN, REDO, REDO_FOLDER = "stage.json", "begun.json", "redo.json", ".redo"


class StageError(ValueError):
    """A stage cannot run in this workdir."""


class Held(StageError):
    """Another process is using this workdir."""


class Changed(StageError):
    """The results of `stage` were made with other inputs than those that are given now."""

    def __init__(self, message: str, stage: str):
        super().__init__(message)
        self.stage = stage


# --- inputs -------------------------------------------------------------------------------------


def fingerprint(inputs: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the inputs as JSON."""
    text = json.dumps(inputs, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The first inputs that differ, in words; those of earlier stages only if nothing else does."""
    keys = [k for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
    own = [k for k in keys if not k.startswith("upstream.")] or keys

    def value(inputs: Mapping[str, Any], key: str) -> str:
        return repr(inputs[key]) if key in inputs else "not used"

    shown = [
        "input files changed" if k == FILES else f"{k} was {value(old, k)}, now {value(new, k)}"
        for k in own[:4]
    ]
    return ", ".join(shown) + (f" and {len(own) - 4} more" if len(own) > 4 else "")


def describe_files(paths: Sequence[Path], root: Path) -> str:
    """SHA-256 (hex) of names, sizes and modification times: detects changes without reading."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        stat = path.stat()
        named = os.path.relpath(path, root)
        digest.update(os.fsencode(f"{named} {stat.st_size} {stat.st_mtime_ns}\n"))
    return digest.hexdigest()


def recorded(root: Path, name: str = DONE) -> dict[str, Any] | None:
    """What the marker `name` in the stage directory `root` holds; None if there is none."""
    try:
        record = files.read_json(root / name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    ours = isinstance(record, dict) and isinstance(record.get("inputs"), dict)
    return record if ours and isinstance(record.get("fingerprint"), str) else None


def done(workdir: Path, stage: str) -> str:
    """The fingerprint of a complete stage.

    Raises:
      StageError: it is not complete.
    """
    record = recorded(workdir / stage)
    if record is None:
        raise StageError(f"{workdir / stage}: not made yet; run the {stage} stage first")
    return record["fingerprint"]


def made_here(root: Path) -> bool:
    """Whether this program made the stage directory `root`, which its markers show."""
    return any(recorded(root, name) is not None for name in (DONE, BEGUN))


def require_consistent(workdir: Path, stages: Sequence[str] = STAGES) -> None:
    """Check that complete stages were made from the results that are there now.

    While stages are computed again, new results can stand next to old ones that were made from
    their predecessors.

    Raises:
      StageError: a stage was made from earlier results of another; names both.
    """
    for stage in stages:
        record = recorded(workdir / stage) or {}
        for name, made_from in record.get("upstream", {}).items():
            now = recorded(workdir / name)
            linked = (workdir / stage).is_symlink()  # made from equal results in another workdir
            if now is None or (now.get("id") != made_from and not linked):
                raise StageError(
                    f"{workdir / stage} was made from other results of the {name} stage than those "
                    "that are there now; run the pipeline again to finish it"
                )


def require_own(root: Path) -> None:
    """Check that `root` may be written to: absent, empty, or made by this program.

    Raises:
      StageError: it holds something else.
    """
    if not (root.exists() or root.is_symlink()) or made_here(root):
        return
    if root.is_symlink() and not root.exists():
        return  # a link to a workdir that was removed
    if not root.is_dir() or any(root.iterdir()):
        raise StageError(
            f"{root} exists and was not made by this program, which keeps its own results under "
            "that name; use another workdir"
        )


# --- running a stage ----------------------------------------------------------------------------


def run_stage(
    workdir: Path,
    stage: str,
    inputs: Mapping[str, Any],
    work: Callable[[Path], None],
    *,
    may_change: Collection[str] = (),
) -> str:
    """Call `work` with the stage's directory unless it is complete with the same inputs.

    After an interruption `work` finds the files that it had finished; half-written ones are
    removed. Inputs may change as long as nothing was made, or if they are in `may_change`, which
    `work` checks itself part by part; so an error in data or config can be corrected and the same
    command continues. The caller holds the workdir's lock. Where `share` was called for the folder
    of workdirs, a stage that another workdir finished with the same inputs is linked, and one that
    another workdir is computing is waited for.

    Returns:
      The fingerprint of the inputs.

    Raises:
      Changed: the results belong to other inputs; names those that differ.
      StageError: the directory was not made by this program, or an earlier stage is to be computed
        again first.
    """
    root = workdir / stage
    inputs = json.loads(json.dumps(inputs, default=list))
    mark = fingerprint(inputs)
    pending = pending_redo(workdir)
    _require_earlier(stage, pending)
    if stage in pending:
        _work_again(workdir, stage, inputs, work)
        return mark
    _wait_for_shared(root, mark)
    _link_shared(root, mark)
    require_own(root)
    complete = recorded(root)
    if complete is not None and complete["fingerprint"] == mark:
        print(f"{stage}: done already, skipped ({root})")
        return mark
    begun = recorded(root, BEGUN)
    for record in (complete, begun):
        if record is None or record["fingerprint"] == mark:
            continue
        if record is begun and _may_continue(root, record["inputs"], inputs, may_change):
            continue
        raise Changed(
            f"{root} was made with another config or other data: "
            + difference(record["inputs"], inputs),
            stage,
        )
    _work(root, stage, inputs, work, upstream=_upstream(workdir, inputs))
    return mark


def _upstream(workdir: Path, inputs: Mapping[str, Any]) -> dict[str, str]:
    """Ids of the stages that the inputs name."""
    names = [name.removeprefix("upstream.") for name in inputs if name.startswith("upstream.")]
    records = {name: recorded(workdir / name) for name in names}
    return {name: record["id"] for name, record in records.items() if record and "id" in record}


def _require_earlier(stage: str, pending: Sequence[str]) -> None:
    """Refuse to use results that are to be computed again."""
    if stage in STAGES and pending and STAGES.index(pending[0]) < STAGES.index(stage):
        raise StageError(
            f"the {pending[0]} stage, on which {stage} depends, is to be computed again; run it "
            "first"
        )


def _work(
    root: Path,
    stage: str,
    inputs: Mapping[str, Any],
    work: Callable[[Path], None],
    *,
    upstream: Mapping[str, str],
) -> None:
    root.mkdir(parents=True, exist_ok=True)
    if not root.is_symlink():  # another workdir, with its own lock, may be writing behind a link
        files.remove_leftovers(root)
    record: dict[str, Any] = {"fingerprint": fingerprint(inputs), "inputs": inputs}
    before = recorded(root, BEGUN) or {}
    same = before.get("fingerprint") == record["fingerprint"] and "id" in before
    record["id"] = before["id"] if same else uuid.uuid4().hex
    files.write_json(root / BEGUN, record)
    began = time.perf_counter()
    print(f"{stage}: started")
    work(root)
    seconds = round(time.perf_counter() - began, 1)
    files.write_json(root / DONE, {**record, "seconds": seconds, "upstream": upstream})
    print(f"{stage}: done in {seconds:.0f} s")


def _may_continue(
    root: Path, old: Mapping[str, Any], new: Mapping[str, Any], may_change: Collection[str]
) -> bool:
    """Whether an unfinished stage that was begun with other inputs may continue with new ones."""
    if not root.is_symlink() and [path.name for path in root.iterdir()] == [BEGUN]:
        return True
    return {key for key in {*old, *new} if old.get(key) != new.get(key)} <= set(may_change)


# --- computing stages again ---------------------------------------------------------------------


def pending_redo(workdir: Path) -> tuple[str, ...]:
    """Stages of `workdir` that are still to be computed again, in order."""
    path = workdir / REDO
    if not path.exists():
        return ()
    record = files.read_json(path)
    names = record.get("stages") if isinstance(record, dict) and len(record) == 1 else None
    if not isinstance(names, list) or not names or not all(name in STAGES for name in names):
        raise StageError(f"{path}: not a list of stages that this program wrote; remove it")
    return tuple(names)


def to_redo(workdir: Path, stages: Collection[str]) -> tuple[str, ...]:
    """The stages among `stages`, and all that follow them, that have results in `workdir`.

    Directories that this program did not make are left out.

    Raises:
      ValueError: there is no stage of that name.
    """
    for stage in stages:
        if stage not in STAGES:
            raise ValueError(f"no stage is called {stage!r}; stages are {', '.join(STAGES)}")
    first = min((STAGES.index(stage) for stage in stages), default=len(STAGES))
    return tuple(stage for stage in STAGES[first:] if made_here(workdir / stage))


def request_redo(workdir: Path, stages: Collection[str]) -> None:
    """Have `stages` computed again by the next commands; their results stay until then."""
    _write_pending(workdir, [s for s in STAGES if s in {*stages, *pending_redo(workdir)}])


def withdraw_redo(workdir: Path, stages: Collection[str]) -> None:
    """Cancel the request for `stages` if none of them has been computed again even in part.

    For a command that was refused: the old results stay, and the next command uses them.
    """
    pending = pending_redo(workdir)
    parts = [workdir / REDO_FOLDER / stage for stage in stages]
    begun = [path for part in parts for path in part.glob("*") if path.name != BEGUN]
    if begun or not {*stages} <= {*pending}:
        return
    for part in parts:
        shutil.rmtree(part, ignore_errors=True)
    with contextlib.suppress(OSError):
        (workdir / REDO_FOLDER).rmdir()
    _write_pending(workdir, [stage for stage in pending if stage not in stages])


def _write_pending(workdir: Path, stages: Sequence[str]) -> None:
    path = workdir / REDO
    if stages:
        files.write_json(path, {"stages": list(stages)})
    else:
        path.unlink(missing_ok=True)


def _work_again(
    workdir: Path, stage: str, inputs: Mapping[str, Any], work: Callable[[Path], None]
) -> None:
    """Compute a stage in another directory, then replace the old results by the new ones."""
    root, part = workdir / stage, workdir / REDO_FOLDER / stage
    require_own(root)
    require_own(part)
    begun = recorded(part, BEGUN)
    unfinished = begun is not None and begun["fingerprint"] == fingerprint(inputs)
    old = part.with_name(f"{stage}.old")
    if made_here(old):
        _remove(old)
    if part.exists() and not (unfinished and recorded(part) is None):
        _remove(part)  # an earlier attempt with other inputs, or results that were replaced
    _work(part, stage, inputs, work, upstream=_upstream(workdir, inputs))
    if root.is_symlink():
        root.unlink()
    if root.exists():
        files.exchange(part, root, aside=old)
    else:
        part.rename(root)
    _write_pending(workdir, [name for name in pending_redo(workdir) if name != stage])
    for path in (part, old):
        if path.exists():
            _remove(path)
    with contextlib.suppress(OSError):
        part.parent.rmdir()


def _remove(root: Path) -> None:
    """Remove a stage directory, its markers last: an interruption leaves a directory of ours."""
    for path in root.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in (DONE, BEGUN):
            path.unlink()
    for name in (DONE, BEGUN):
        (root / name).unlink(missing_ok=True)
    root.rmdir()


# --- workdirs that share stages -----------------------------------------------------------------


def share(folder: Path) -> None:
    """Let the workdirs in `folder` use finished stages of each other."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SHARING).touch()


def _wait_for_shared(root: Path, mark: str) -> None:
    """Wait while another workdir of the folder computes the same stage with the same inputs."""
    folder, announced = root.parent.parent, False
    while not root.exists() and (folder / SHARING).is_file():
        others = [
            path.parents[1]
            for path in sorted(folder.glob(f"*/{root.name}/{BEGUN}"))
            if (recorded(path.parent, BEGUN) or {}).get("fingerprint") == mark
            and recorded(path.parent) is None
        ]
        busy = [other for other in others if other != root.parent and _in_use(other)]
        if not busy:
            return
        if not announced:
            print(f"{root.name}: waiting for {busy[0]}, which computes the same", flush=True)
            announced = True
        time.sleep(WAIT_S)


def _in_use(workdir: Path) -> bool:
    try:
        with lock(workdir):
            return False
    except Held:
        return True


def _link_shared(root: Path, mark: str) -> None:
    """Link `root` to the same stage of another workdir that finished it with the same inputs."""
    folder = root.parent.parent
    if root.is_symlink() and not root.exists():
        root.unlink()  # the workdir that made it was removed
    if root.exists() or not (folder / SHARING).is_file():
        return
    for path in sorted(folder.glob(f"*/{root.name}")):
        if not path.is_symlink() and (recorded(path) or {}).get("fingerprint") == mark:
            root.parent.mkdir(parents=True, exist_ok=True)
            root.symlink_to(os.path.relpath(path, root.parent))
            return


@contextlib.contextmanager
def lock(workdir: Path) -> Iterator[None]:
    """Hold `workdir` for one process at a time; the system releases it if the process dies.

    Raises:
      Held: another process uses it.
      StageError: it is a file, or lies inside one.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StageError(f"{error.filename}: is a file; use another workdir") from None
    held = Held(f"{workdir}: another process works here; use another workdir")
    with files.lock(workdir / ".lock", held):
        files.remove_abandoned(workdir)
        yield
