"""Images of a query and their positions, as text on the command line or in a table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inres.system import files

SEPARATOR = ","


def image_paths(text: str, folder: Path = Path()) -> list[Path]:
    """The paths in a text, separated by commas; a text that is an existing path is one path.

    Args:
      folder: relative paths are relative to it.
    """
    whole = folder / Path(text).expanduser()
    if files.exists(whole):
        return [whole if whole.name not in ("", "..") else whole.resolve()]
    parts = [part.strip() for part in text.split(SEPARATOR)]
    return [folder / Path(part).expanduser() for part in parts if part] or [whole]


def image_positions(values: Mapping[str, str | None], *, where: str) -> dict[str, Any]:
    """The arguments `z_mm` and `slice_mm` of `Archive.search_image`, as far as they are given.

    Args:
      values: texts by these names; None or empty: not given.
      where: begins the message of an error.

    Raises:
      ValueError: not numbers.
    """
    found: dict[str, Any] = {}
    if text := values.get("z_mm"):
        numbers = _numbers(text)
        if not numbers:
            raise ValueError(f"{where}z_mm={text}: must be numbers in mm separated by commas")
        found["z_mm"] = numbers
    if text := values.get("slice_mm"):
        numbers = _numbers(text)
        if len(numbers) != 1:
            raise ValueError(f"{where}slice_mm={text}: must be one number in mm")
        found["slice_mm"] = numbers[0]
    return found


def _numbers(text: str) -> list[float]:
    """The numbers in a text; none if a part of it is not a number."""
    parts = text.split(SEPARATOR)
    return [float(part) for part in parts] if all(map(files.is_number, parts)) else []
