"""Checkpoints of a train state; no other module uses Orbax."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp


class Checkpoints:
    """The newest `keep` checkpoints under `root`. An incomplete checkpoint is never visible."""

    def __init__(self, root: Path, *, keep: int = 2) -> None:
        # Orbax requires absolute paths.
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        self._root = Path(root).resolve()
        self._manager = ocp.CheckpointManager(
            self._root, options=options, item_handlers=ocp.StandardCheckpointHandler()
        )

    def latest(self) -> int | None:
        """The newest complete step, or None."""
        return self._manager.latest_step()

    def newest(self) -> Path | None:
        """The folder of the newest checkpoint, once it is complete, or None."""
        self.wait()
        step = self.latest()
        return None if step is None else self._root / str(step)

    def save(self, step: int, state: Any) -> None:
        """Save a pytree of arrays; does nothing if `step` exists already."""
        if step not in self._manager.all_steps():
            self._manager.save(step, args=ocp.args.StandardSave(state))

    def drop_from(self, step: int) -> None:
        """Remove the checkpoints of `step` and of all later steps."""
        for later in [s for s in self._manager.all_steps() if s >= step]:
            self._manager.delete(later)

    def restore(self, state: Any, *, step: int | None = None) -> Any:
        """Restore into the shapes, dtypes and shardings of `state`.

        Raises:
          ValueError: the checkpoint is damaged, or has other leaves, shapes or dtypes; names the
            folder and the first such leaf.
          FileNotFoundError: there is no checkpoint.
        """
        step = self.latest() if step is None else step
        if step is None:
            raise FileNotFoundError(f"{self._root}: no checkpoint here; run the train stage first")
        path = self._root / str(step)
        remedy = "remove this folder to resume from the previous one"
        with _damage_named(path, remedy):
            saved = self._manager.item_metadata(step)
        _compare(saved, state, str(path))
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        with _damage_named(path, remedy):
            return self._manager.restore(step, args=ocp.args.StandardRestore(abstract))

    @staticmethod
    def read_variables(root: Path) -> dict[str, Any]:
        """Weights of the newest checkpoint: {"params": ..., "batch_stats": ...}.

        Raises:
          FileNotFoundError: there is no checkpoint.
          ValueError: the checkpoint is damaged; names its folder.
        """
        with ocp.CheckpointManager(Path(root).resolve()) as manager:
            step = manager.latest_step()
            if step is None:
                raise FileNotFoundError(
                    f"{root}: no checkpoint here; run the stage that trains first"
                )
            remedy = "restore it from a copy, or run the stage that trains again"
            with _damage_named(Path(root, str(step)), remedy):
                saved = manager.restore(step, args=ocp.args.StandardRestore())
                return {name: saved[name] for name in ("params", "batch_stats")}

    def wait(self) -> None:
        """Wait until all saved checkpoints are on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Finish and release."""
        self._manager.close()


@contextlib.contextmanager
def _damage_named(path: Path, remedy: str) -> Iterator[None]:
    """Turn an error while reading the checkpoint `path` into a ValueError that names it."""
    try:
        yield
    except (MemoryError, RuntimeError):  # no room on the host or on a device
        raise
    except Exception as error:  # Orbax raises bare Exceptions, too
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise ValueError(f"{path}: damaged checkpoint ({reason}); {remedy}") from None


def _leaves(tree: Any) -> dict[str, tuple[tuple[int, ...], str]]:
    found = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = "/".join(
            str(getattr(p, "key", getattr(p, "name", getattr(p, "idx", p)))) for p in path
        )
        found[name] = (tuple(leaf.shape), str(leaf.dtype))
    return found


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
