"""Tables as CSV, LaTeX and Markdown."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from inres.system import files

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def write_table(
    stem: str | Path, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]
) -> list[Path]:
    """Write `rows` as `<stem>.csv` and `<stem>.tex` (a `tabular` for booktabs).

    `columns` maps the keys of a row, which are the headings of the CSV file, to the headings of the
    LaTeX table. Unknown values (None, NaN, missing keys) are blank.
    """
    paths = [Path(f"{stem}.csv"), Path(f"{stem}.tex")]
    known = [{key: _known(row.get(key)) for key in columns} for row in rows]
    files.write_csv(paths[0], list(columns), known)
    numeric = {
        key: all(isinstance(row[key], (int, float)) for row in known if row[key] != "")
        for key in columns
    }
    lines = [
        rf"\begin{{tabular}}{{{''.join('r' if numeric[key] else 'l' for key in columns)}}}",
        r"\toprule",
        _line(map(escape, columns.values())),
        r"\midrule",
        *(_line(_cell(row[key]) for key in columns) for row in known),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    files.write_text(paths[1], "\n".join(lines) + "\n")
    return paths


def write_markdown(
    path: str | Path, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]
) -> str:
    """Write `rows` as a Markdown table and return its text; arguments as in `write_table`."""

    def cell(value: Any) -> str:
        return _number(value) if isinstance(value, float) else str(value)

    cells = [[cell(_known(row.get(key))) for key in columns] for row in rows]
    text = markdown([*columns.values()], cells)
    files.write_text(path, text)
    return text


def markdown(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; cells are converted with `str`."""

    def line(cells: Iterable[Any]) -> str:
        return "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |\n"

    return line(headings) + line("---" for _ in headings) + "".join(map(line, rows))


def escape(text: str) -> str:
    """Escape `text` for LaTeX."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def _known(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def _cell(value: Any) -> str:
    return f"${_number(value)}$" if isinstance(value, float) else escape(str(value))


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
