"""Logs of metrics: one JSON object per line, and TensorBoard event files."""

import contextlib
import json
import math
import time
from pathlib import Path
from typing import Any

from inres.system import files, together


class MetricLog:
    """Appends rows to `<root>/log.jsonl` and scalars to `<root>/tensorboard`.

    A run that resumes at `step` drops later rows, because it writes them again. Every method raises
    an OSError that names `root` if the disk is full.
    """

    def __init__(self, root: Path, *, step: int = 0) -> None:
        # SummaryWriter would write in a thread, whose errors stop the training without a word. Both
        # are slow to import if PyTorch is installed.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2

        self._root, self._event = root, event_pb2.Event
        path, board = root / "log.jsonl", root / "tensorboard"
        kept = [row for row in read_log(path) if row["step"] <= step]
        files.write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
        with files.full_disk_named(root), contextlib.ExitStack() as on_error:
            board.mkdir(exist_ok=True)
            self._file = on_error.enter_context(open(path, "a", encoding="utf-8"))
            self._board = EventsWriter(str(board / "events"))
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(step + 1, session_log=start)
            on_error.pop_all()

    def write(self, row: dict[str, Any]) -> None:
        """Append a row with the keys `kind` and `step`; NaN and infinity become null."""
        from tensorboardX.summary import scalar

        clean = {
            k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()
        }
        with files.full_disk_named(self._root):
            self._file.write(json.dumps(clean) + "\n")
            self._file.flush()
            for name, value in clean.items():
                if name != "step" and isinstance(value, (int, float)):
                    summary = scalar(f"{row['kind']}/{name}", value)
                    self._write(row["step"], summary=summary)
            self._board.flush()

    def _write(self, step: int, **what: Any) -> None:
        self._board.write_event(self._event(wall_time=time.time(), step=step, **what))

    def close(self) -> None:
        """Flush and close both."""
        with files.full_disk_named(self._root), contextlib.closing(self._file):
            self._board.close()

    def __enter__(self) -> "MetricLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class NoLog(MetricLog):
    """Takes rows and writes nothing."""

    def __init__(self) -> None: ...

    def write(self, row: dict[str, Any]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def open_log(root: Path, *, step: int = 0) -> MetricLog:
    """A `MetricLog`; of several processes only process 0 writes it."""
    return MetricLog(root, step=step) if together.leads() else NoLog()


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
