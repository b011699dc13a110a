"""Variables of a network: nested as Flax has them, or by path, and their fingerprint."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from inres.encoding.linear_codes import Hyperplanes


def by_path(variables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested variables as one mapping, by paths such as `params/stem/conv/kernel`."""
    found: dict[str, Any] = {}
    for name, value in variables.items():
        if isinstance(value, Mapping):
            found |= by_path(value, f"{prefix}{name}/")
        else:
            found[prefix + name] = value
    return found


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Variables by path, nested again."""
    found: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, name = path.split("/")
        inside = found
        for parent in parents:
            inside = inside.setdefault(parent, {})
        inside[name] = value
    return found


def fingerprint(variables: Mapping[str, Any], hyperplanes: Hyperplanes | None = None) -> str:
    """SHA-256 (hex) of the names, shapes, dtypes and values of all variables.

    Args:
      variables: of the network, nested.
      hyperplanes: of the code, if there are any; everything that determines an item's code and
        features is then part of the fingerprint.
    """
    code = {} if hyperplanes is None else {"code": vars(hyperplanes)}
    digest = hashlib.sha256()
    for path, leaf in _leaves({**variables, **code}):
        value = np.asarray(leaf)
        digest.update(f"{path} {value.shape} {value.dtype};".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Paths as JAX writes them, `['params']['stem']`, and arrays, in the order of the names."""
    found: list[tuple[str, Any]] = []
    for name in sorted(tree):
        path = f"{prefix}[{name!r}]"
        value = tree[name]
        found += _leaves(value, path) if isinstance(value, Mapping) else [(path, value)]
    return found
