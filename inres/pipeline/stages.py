"""A stage's results are kept once: skipped where done, resumed where interrupted."""

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from inres.system import files

SHARING = "stages-are-shared"
"""A file of this name in a folder of workdirs lets each take finished stages of the others."""

FILES = "files"
"""The input of a stage that `describe_files` gives."""

WAIT_S = 2.0
"""Between looks at whether another workdir has finished a stage."""


class StageError(ValueError):
    """A stage cannot run in this workdir; the message says what differs and the remedy."""


class Held(StageError):
    """Another process works in this workdir."""


def fingerprint(inputs: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the inputs' JSON."""
    text = json.dumps(inputs, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()


def flat(inputs: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, with dotted keys."""
    out: dict[str, Any] = {}
    for key, value in inputs.items():
        if isinstance(value, Mapping):
            out.update(flat(value, f"{prefix}{key}."))
        else:
            out[prefix + key] = value
    return out


def done(workdir: Path, stage: str) -> str:
    """The fingerprint of a finished stage.

    Raises:
      StageError: it is not finished; names the command's stage.
    """
    path = workdir / stage / "stage.json"
    if not path.is_file():
        raise StageError(f"{workdir / stage}: not made yet; run the {stage} stage first")
    return files.read_json(path)["fingerprint"]


def run(
    workdir: Path,
    stage: str,
    inputs: Mapping[str, Any],
    work: Callable[[Path], None],
    *,
    may_change: Collection[str] = (),
) -> str:
    """Do `work(workdir / stage)` unless it was done with the same inputs; give its fingerprint.

    `work` finds in its directory what an interrupted run with the same inputs left there, but for
    half-written files. So it may with other inputs, as long as nothing was made or only inputs in
    `may_change` differ, whose parts `work` checks itself: what was wrong with the data or the
    config is mended, and the same command goes on. The caller holds the workdir's lock. Where
    `share` was called for the folder of workdirs, a stage that another of them finished with the
    same inputs is taken over by a link, and one that another is making is waited for.

    Raises:
      StageError: the directory belongs to other inputs; names the fields that differ.
    """
    root = workdir / stage
    inputs = json.loads(json.dumps(inputs, default=list))
    mark = fingerprint(inputs)
    _wait_for_shared(root, mark)
    _take_shared(root, mark)
    for name in ("stage.json", "begun.json"):
        path = root / name
        if not path.is_file():
            continue
        record = files.read_json(path)
        if record["fingerprint"] == mark:
            if name == "stage.json":
                print(f"{stage}: done already, skipped ({root})")
                return mark
            break
        if name == "begun.json" and _goes_on(root, record["inputs"], inputs, may_change):
            break
        raise StageError(
            f"{root} was made with another config or other data: "
            + difference(record["inputs"], inputs)
            + f"; use another --workdir, or --redo={stage} to make it anew"
        )
    root.mkdir(parents=True, exist_ok=True)
    if not root.is_symlink():  # behind a link another workdir, with a lock of its own, may write
        files.remove_leftovers(root)
    record = {"fingerprint": mark, "inputs": inputs}
    files.write_json(root / "begun.json", record)
    began = time.perf_counter()
    print(f"{stage}: started")
    work(root)
    seconds = round(time.perf_counter() - began, 1)
    files.write_json(root / "stage.json", {**record, "seconds": seconds})
    (root / "begun.json").unlink()
    print(f"{stage}: done in {seconds:.0f} s")
    return mark


def _goes_on(
    root: Path, old: Mapping[str, Any], new: Mapping[str, Any], may_change: Collection[str]
) -> bool:
    """Whether an unfinished stage, begun with other inputs, may go on with the new ones."""
    if not root.is_symlink() and [path.name for path in root.iterdir()] == ["begun.json"]:
        return True
    return {key for key in {*old, *new} if old.get(key) != new.get(key)} <= set(may_change)


def share(folder: Path) -> None:
    """Let the workdirs in `folder` take finished stages of each other."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SHARING).touch()


def _wait_for_shared(root: Path, mark: str) -> None:
    """Wait while a workdir beside makes the same stage with the same inputs."""
    folder, told = root.parent.parent, False
    while not root.exists() and (folder / SHARING).is_file():
        begun = folder.glob(f"*/{root.name}/begun.json")
        others = [path.parents[1] for path in sorted(begun) if _mark(path) == mark]
        busy = [other for other in others if other != root.parent and _at_work(other)]
        if not busy:
            return
        if not told:
            print(f"{root.name}: waits for {busy[0]}, where the same is being made", flush=True)
            told = True
        time.sleep(WAIT_S)


def _mark(path: Path) -> str:
    """The fingerprint in a record; empty where it has just been removed."""
    try:
        return files.read_json(path)["fingerprint"]
    except FileNotFoundError:
        return ""


def _at_work(workdir: Path) -> bool:
    try:
        with lock(workdir):
            return False
    except Held:
        return True


def _take_shared(root: Path, mark: str) -> None:
    """Link `root` to the same stage of a workdir beside its own, finished with the same inputs."""
    folder = root.parent.parent
    if root.is_symlink() and not root.exists():
        root.unlink()  # the workdir that made it is gone
    if root.exists() or not (folder / SHARING).is_file():
        return
    for path in sorted(folder.glob(f"*/{root.name}/stage.json")):
        if not path.parent.is_symlink() and files.read_json(path)["fingerprint"] == mark:
            root.parent.mkdir(parents=True, exist_ok=True)
            root.symlink_to(os.path.relpath(path.parent, root.parent))
            return


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The first fields in which two nested dicts differ, in words."""
    old, new = flat(old), flat(new)
    keys = [k for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
    own = [k for k in keys if not k.startswith("upstream.")] or keys
    shown = [
        "input files changed" if k == FILES else f"{k} was {old.get(k)!r}, now {new.get(k)!r}"
        for k in own[:4]
    ]
    return ", ".join(shown) + (f" and {len(own) - 4} more" if len(own) > 4 else "")


def forget(workdir: Path, stage: str) -> None:
    """Remove a stage's results; those of another workdir are only let go."""
    root = workdir / stage
    if root.is_symlink():
        root.unlink()
    else:
        shutil.rmtree(root, ignore_errors=True)


def describe_files(paths: list[Path], root: Path) -> str:
    """SHA-256 (hex) of names, sizes and times of change: "the same inputs" without reading them."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        stat = path.stat()
        digest.update(f"{os.path.relpath(path, root)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


@contextlib.contextmanager
def lock(workdir: Path) -> Iterator[None]:
    """Hold `workdir` for one process at a time; released by the system if the process dies.

    Raises:
      Held: another process works in it.
      StageError: it is a file, or would lie in one.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StageError(f"{error.filename}: is a file; use another --workdir") from None
    held = Held(f"{workdir}: another process works here; use another --workdir")
    with files.lock(workdir / ".lock", held):
        yield
