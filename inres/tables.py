"""Tables for people and papers: the same rows as CSV and as LaTeX."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inres import files

_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{mark: "\\" + mark for mark in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def write(stem: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Write rows as `<stem>.csv`, in full precision, and as `<stem>.tex`, to three digits.

    The LaTeX is a `tabular` in the manner of the booktabs package, to be put into a document
    with `\\input`. Missing values and None stay blank.
    """
    blank = [{k: "" if v is None else v for k, v in row.items()} for row in rows]
    files.write_csv(Path(f"{stem}.csv"), columns, blank)
    files.write_text(Path(f"{stem}.tex"), latex(columns, rows))
    return [Path(f"{stem}.csv"), Path(f"{stem}.tex")]


def latex(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a LaTeX `tabular`; a column is set to the right if it holds numbers alone."""
    numeric = [
        all(isinstance(row.get(c), int | float | None) for row in rows) and bool(rows)
        for c in columns
    ]
    lines = [
        r"\begin{tabular}{" + "".join("r" if right else "l" for right in numeric) + "}",
        r"\toprule",
        " & ".join(map(escape, columns)) + r" \\",
        r"\midrule",
        *(" & ".join(_cell(row.get(c)) for c in columns) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Text in which LaTeX sees no command."""
    return "".join(_SPECIAL.get(mark, mark) for mark in text)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 1e4 else f"{value:.4g}"
    return escape(str(value))
