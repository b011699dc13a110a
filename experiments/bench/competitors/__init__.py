"""Exact searches by other programs, one class in one file each.

`interface` documents what a competitor provides, `fine_stage` ranks pools, and `verify` compares
answers with NumPy before a competitor is used. `pip install -e '.[bench]'` installs all of them;
one that is missing is left out with a message.
"""

import importlib
import importlib.metadata
from collections.abc import Sequence

from experiments.bench.competitors.interface import Competitor

CLASSES = {
    "faiss_flat": "FaissFlat",
    "faiss_shards": "FaissShards",
    "faiss_multi_hash": "FaissMultiHash",
    "faiss_hash": "FaissHash",
    "pynear_mih": "PynearMih",
    "pynear_bk": "PynearBk",
    "usearch_exact": "UsearchExact",
    "sqlite_vec_scan": "SqliteVecScan",
    "lancedb_scan": "LancedbScan",
}
"""Class of each module. The first one is the reference of the benchmark."""


def installed(names: Sequence[str] = ()) -> tuple[list[type[Competitor]], list[str]]:
    """The competitors that can be imported, and a message for each of the others.

    Args:
      names: modules to try; default: all.

    Raises:
      ValueError: there is no competitor of that name.
    """
    found: list[type[Competitor]] = []
    missing = []
    for name in names or CLASSES:
        if name not in CLASSES:
            raise ValueError(f"no competitor {name!r}; there are {', '.join(CLASSES)}")
        try:
            module = importlib.import_module(f"{__name__}.{name}")
        except ImportError as error:
            missing.append(
                f"{CLASSES[name]} is left out ({error}); install it: pip install -e '.[bench]'"
            )
        else:
            found.append(getattr(module, CLASSES[name]))
    return found, missing


def versions(classes: Sequence[type[Competitor]]) -> dict[str, str]:
    """Version of each competitor's package."""
    return {c.distribution: importlib.metadata.version(c.distribution) for c in classes}
