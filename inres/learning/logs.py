"""Logs of metrics: one JSON object per line, and TensorBoard event files."""

import json
import math
from pathlib import Path
from typing import Any


class MetricLog:
    """Appends rows to `<root>/log.jsonl` and scalars to `<root>/tensorboard`.

    A run that resumes at `step` drops later rows, because it writes them again.
    """

    def __init__(self, root: Path, *, step: int = 0) -> None:
        from tensorboardX import SummaryWriter  # slow to import if PyTorch is installed

        root.mkdir(parents=True, exist_ok=True)
        path = root / "log.jsonl"
        kept = [row for row in read_log(path) if row["step"] <= step]
        self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115  (closed in close())
        for row in kept:
            self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        self._board = SummaryWriter(str(root / "tensorboard"), purge_step=step + 1)

    def write(self, row: dict[str, Any]) -> None:
        """Append a row with the keys `kind` and `step`; NaN and infinity become null."""
        clean = {
            k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()
        }
        self._file.write(json.dumps(clean) + "\n")
        self._file.flush()
        for name, value in clean.items():
            if name != "step" and isinstance(value, (int, float)):
                self._board.add_scalar(f"{row['kind']}/{name}", value, row["step"])

    def close(self) -> None:
        """Flush and close both."""
        self._file.close()
        self._board.close()

    def __enter__(self) -> "MetricLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a log; an incomplete last line, left by a crash, is skipped.

    Raises:
      ValueError: another line is damaged.
    """
    if not path.is_file():
        return []
    rows = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            if number != len(lines):
                raise ValueError(
                    f"{path}: line {number} is damaged; remove the file to start a new log"
                ) from None
    return rows
