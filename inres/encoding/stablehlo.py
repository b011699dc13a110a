"""Functions of a network as portable programs: StableHLO, written and read by `jax.export`.

A program takes the variables of the network by path (`variables.by_path`) and images, any number of
them, and runs on every platform of `PLATFORMS` without the code that it was made from. JAX runs
programs that are up to six months old (its compatibility guarantees for export).
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np

from inres.encoding.variables import by_path, nested

PLATFORMS = ("cpu", "cuda", "tpu")


def write(
    path: Path,
    function: Callable[[dict[str, Any], jax.Array], Any],
    variables: Mapping[str, Any],
    shape: Sequence[int],
) -> None:
    """Write a program.

    Args:
      path: the file.
      function: of nested variables and images uint8 [B, *shape].
      variables: of the network, nested. Only their shapes and dtypes are part of the program.
      shape: of an image.
    """

    def of_paths(flat: dict[str, Any], images: jax.Array) -> Any:
        return function(nested(flat), images)

    (batch,) = jax.export.symbolic_shape("b")
    flat = {
        name: jax.ShapeDtypeStruct(np.shape(value), value.dtype)
        for name, value in by_path(variables).items()
    }
    images = jax.ShapeDtypeStruct((batch, *shape), np.uint8)
    with _without_source_lines():
        exported = jax.export.export(jax.jit(of_paths), platforms=PLATFORMS)(flat, images)
        path.write_bytes(exported.serialize())


@contextlib.contextmanager
def _without_source_lines() -> Iterator[None]:
    """Programs made inside name no files and functions of the machine that they are made on."""
    settings = {
        "jax_hlo_source_file_canonicalization_regex": ".*",
        "jax_traceback_in_locations_limit": 0,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    try:
        for name, value in settings.items():
            jax.config.update(name, value)
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def load(path: Path, variables: Mapping[str, np.ndarray], *, remedy: str) -> Callable[..., Any]:
    """The program in a file, compiled when it is called: images uint8 [B, ...] -> its outputs.

    Args:
      path: a file of `write`.
      variables: of the network, by path; they are put on the device once.
      remedy: ends the message of an error.

    Raises:
      ValueError: the file is damaged, or too old or too new for this version of JAX.
    """
    try:
        exported = jax.export.deserialize(bytearray(path.read_bytes()))
    except Exception as error:  # of many types, as the format of JAX does without checks
        raise ValueError(
            f"{path}: damaged, or not for JAX {jax.__version__} ({type(error).__name__}: {error}); "
            f"{remedy}"
        ) from error
    placed = jax.device_put(dict(variables))
    call = jax.jit(exported.call)
    return lambda images: call(placed, images)
