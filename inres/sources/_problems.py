"""Problems of a data set: collected by kind, so that all are reported together."""

import textwrap
from collections import defaultdict
from pathlib import Path

from inres.sources import SourceError
from inres.system.messages import listed

Problems = defaultdict[str, list[str]]
"""The cases of each kind of problem."""


def no_problems() -> Problems:
    """An empty collection."""
    return defaultdict(list)


def refuse(root: Path, problems: Problems) -> None:
    """Report all problems of the data at `root`, if there are any.

    Raises:
      SourceError: lists every kind of problem with its first cases.
    """
    if not any(problems.values()):
        return
    parts = [f"{root}: {sum(map(len, problems.values()))} problem(s)"]
    for kind, cases in problems.items():
        if cases:
            parts.append(f"{len(cases)} x {kind}:")
            parts.append(textwrap.indent(listed(cases), "  "))
    raise SourceError("\n".join(parts))
