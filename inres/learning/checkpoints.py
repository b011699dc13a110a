"""Checkpoints of a train state; no other module uses Orbax."""

import contextlib
import hashlib
import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from inres.system import files

RESUME = "remove this folder to resume from the one before"
"""Remedy for a damaged checkpoint of a training that is not complete."""
_STATE, _DIGEST = "default", "digest"
"""Parts of a checkpoint: the state, and a digest of each of its entries."""


class Checkpoints:
    """The newest `keep` checkpoints under `root`. An incomplete checkpoint is never visible.

    Of several processes of one command, all must make the same calls.
    """

    def __init__(self, root: Path, *, keep: int = 2, alone: bool = False) -> None:
        """`alone`: only to restore, by this process, whatever the others of its command do."""
        # Orbax requires absolute paths.
        self._root = Path(root).resolve()
        with files.full_disk_named(self._root):
            self._manager = _manager(self._root, alone=alone, max_to_keep=keep)

    def latest(self) -> int | None:
        """The newest complete step, or None."""
        return self._manager.latest_step()

    def newest(self) -> Path | None:
        """The folder of the newest checkpoint, once it is complete, or None."""
        self.wait()
        step = self.latest()
        return None if step is None else self._root / str(step)

    def save(self, step: int, state: Any) -> None:
        """Save a pytree of arrays; does nothing if `step` exists already.

        Raises:
          OSError: the disk is full, perhaps since the save before; older checkpoints are unchanged.
        """
        if step in self._manager.all_steps():
            return
        parts = {_STATE: ocp.args.StandardSave(state), _DIGEST: ocp.args.JsonSave(_digests(state))}
        with files.full_disk_named(self._root):
            self._manager.save(step, args=ocp.args.Composite(**parts))

    def drop_from(self, step: int) -> None:
        """Remove the checkpoints of `step` and of all later steps."""
        for later in [s for s in self._manager.all_steps() if s >= step]:
            self._manager.delete(later)

    def restore(self, state: Any, *, step: int | None = None, remedy: str = RESUME) -> Any:
        """Restore into the shapes, dtypes and shardings of `state`.

        Args:
          step: which checkpoint; None: the newest.
          remedy: what to do about a damaged one; the end of the error message.

        Raises:
          ValueError: the checkpoint is damaged, or has other leaves, shapes or dtypes; names the
            folder and the first such leaf.
          FileNotFoundError: there is no checkpoint.
        """
        step = self.latest() if step is None else step
        if step is None:
            raise FileNotFoundError(f"{self._root}: no checkpoint here; run the train stage first")
        path = self._root / str(step)
        with _damage_named(path, remedy):
            saved = self._manager.item_metadata(step)[_STATE]
        _compare(saved, state, str(path))
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        with _damage_named(path, remedy):
            wanted = ocp.args.Composite(**{_STATE: ocp.args.StandardRestore(abstract)})
            restored = self._manager.restore(step, args=wanted)[_STATE]
            _require_digests(path, restored)
            return restored

    @staticmethod
    def read_variables(root: Path, *, remedy: str = RESUME) -> dict[str, Any]:
        """Weights of the newest checkpoint: {"params": ..., "batch_stats": ...}.

        Args:
          remedy: as of `restore`.

        Raises:
          FileNotFoundError: there is no checkpoint.
          ValueError: the checkpoint is damaged; names its folder.
        """
        with _manager(Path(root).resolve(), alone=True) as manager:
            step = manager.latest_step()
            if step is None:
                raise FileNotFoundError(
                    f"{root}: no checkpoint here; run the stage that trains first"
                )
            path = Path(root, str(step))
            with _damage_named(path, remedy):
                kind = _on_one_device(manager.item_metadata(step)[_STATE])
                wanted = ocp.args.Composite(**{_STATE: ocp.args.StandardRestore(kind)})
                saved = manager.restore(step, args=wanted)[_STATE]
                variables = {name: saved[name] for name in ("params", "batch_stats")}
                _require_digests(path, variables)
                return variables

    def wait(self) -> None:
        """Wait until all saved checkpoints are on disk.

        Raises:
          OSError: the disk is full; older checkpoints are unchanged.
        """
        with files.full_disk_named(self._root):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Finish and release; errors as in `wait`."""
        with files.full_disk_named(self._root):
            self._manager.close()


def _manager(root: Path, *, alone: bool, **options: Any) -> ocp.CheckpointManager:
    _ignore_unfinished()
    several = ocp.options.MultiprocessingOptions()
    if alone and jax.process_count() > 1:
        own = jax.process_index()
        several = ocp.options.MultiprocessingOptions(own, {own}, f"process{own}")
    make = {"multiprocessing_options": several}
    handlers = {
        _STATE: ocp.StandardCheckpointHandler(**make),
        _DIGEST: ocp.JsonCheckpointHandler(**make),
    }
    create = several.active_processes is None
    return ocp.CheckpointManager(
        root,
        options=ocp.CheckpointManagerOptions(create=create, **make, **options),
        item_handlers=handlers,
    )


def _on_one_device(saved: Any) -> Any:
    """What to restore a saved tree into: its shapes and dtypes, on a device of this process."""
    place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        getattr(saved, "tree", saved),
    )


# --- errors -------------------------------------------------------------------------------------


class _NotFromOrbax(logging.Filter):
    """Drops what Orbax's threads and coroutines log: errors that are raised here as well."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not ("orbax" in record.pathname or _unfinished(record.getMessage()))


def _unfinished(text: str) -> bool:
    """Whether a text tells of reads or writes that another error of Orbax left unfinished."""
    return any(part in text for part in ("orbax", "TensorStore", "Event loop is closed"))


def _ignore_unfinished() -> None:
    """Drop the tracebacks of such reads and writes.

    Python prints them when their coroutines are collected or their threads return, at any time
    after the error itself was raised.
    """
    hook = sys.unraisablehook
    if getattr(hook, "__module__", "") == __name__:
        return

    def chosen(unraisable: Any) -> None:
        if not _unfinished(f"{unraisable.object!r} {unraisable.exc_value!r}"):
            hook(unraisable)

    sys.unraisablehook = chosen


for _name in ("absl", "asyncio"):
    logging.getLogger(_name).addFilter(_NotFromOrbax())


@contextlib.contextmanager
def _damage_named(path: Path, remedy: str) -> Iterator[None]:
    """Turn an error while reading the checkpoint `path` into a ValueError that names it."""
    try:
        yield
    except (MemoryError, RuntimeError):  # no room on the host or on a device
        raise
    except Exception as error:  # Orbax raises bare Exceptions, too
        reason = str(error).partition("\n")[0].partition(" See full TensorStore")[0][:200]
        reason = reason or type(error).__name__
        raise ValueError(f"{path}: damaged checkpoint ({reason}); {remedy}") from None


# --- what a checkpoint holds --------------------------------------------------------------------


def _named_leaves(tree: Any) -> dict[str, Any]:
    """Leaves by the names on the way to them, such as `params/stem/kernel`."""
    return {
        "/".join(
            str(getattr(p, "key", getattr(p, "name", getattr(p, "idx", p)))) for p in path
        ): leaf
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }


def _digests(tree: Any) -> dict[str, str]:
    """SHA-256 (hex) of each entry of a pytree: of names, types, shapes and values.

    TensorStore does not notice a changed byte in the values.
    """
    found: dict[str, Any] = {}
    for name, leaf in sorted(_named_leaves(tree).items()):
        array = np.ascontiguousarray(leaf)
        digest = found.setdefault(name.split("/")[0], hashlib.sha256())
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return {name: digest.hexdigest() for name, digest in found.items()}


def _require_digests(path: Path, tree: Any) -> None:
    """Check the entries of `tree`, from the checkpoint `path`, against their digests.

    Checkpoints of earlier versions have none.

    Raises:
      ValueError: an entry differs.
    """
    if not (path / _DIGEST).is_dir():
        return
    known: Mapping[str, str] = files.read_json(path / _DIGEST / "metadata")
    for name, digest in _digests(tree).items():
        if known.get(name) != digest:
            raise ValueError(f"{name} differs from what was saved")


def _leaves(tree: Any) -> dict[str, tuple[tuple[int, ...], str]]:
    leaves = _named_leaves(tree)
    return {name: (tuple(leaf.shape), str(leaf.dtype)) for name, leaf in leaves.items()}


def _compare(saved: Any, state: Any, where: str) -> None:
    """Compare shapes and dtypes; Orbax converts dtypes silently and does not name the leaf."""
    tree = getattr(saved, "tree", saved)
    if tree is None:
        return
    have, want = _leaves(tree), _leaves(state)
    for name in sorted(set(have) ^ set(want)):
        raise ValueError(
            f"{where}: {name} is only in the {'checkpoint' if name in have else 'model'}; "
            "the config does not belong to this checkpoint"
        )
    for name, expected in want.items():
        if have[name] != expected:
            raise ValueError(
                f"{where}: {name} is {have[name]}, but the model has {expected}; "
                "the config does not belong to this checkpoint"
            )
