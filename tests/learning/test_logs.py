"""Logs as TensorBoard and a reader of JSON see them, and on a full disk."""

import errno
import json
import struct

import pytest
from tensorboardX.proto import event_pb2

from inres.learning.logs import MetricLog, read_log


def events(root):
    """The events of all files of TensorBoard, read record by record."""
    found = []
    for path in sorted((root / "tensorboard").iterdir()):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            found.append(event_pb2.Event.FromString(content[at + 12 : at + 12 + length]))
            at += 16 + length
    return found


def row(step, **values):
    return {"kind": "train", "step": step, **values}


def test_rows_are_in_both_logs_and_later_ones_are_written_again(tmp_path):
    with MetricLog(tmp_path) as log:
        for step in (1, 2, 3):
            log.write(row(step, loss=1 / step, other=float("nan")))
        text = (tmp_path / "log.jsonl").read_text()
        assert len(text.splitlines()) == 3, "each row is there as soon as it is written"
        shown = [
            (e.step, e.summary.value[0].simple_value) for e in events(tmp_path) if e.summary.value
        ]
        assert shown == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    for path in (tmp_path / "tensorboard").iterdir():
        path.unlink()
    with MetricLog(tmp_path, step=1) as log:
        log.write(row(2, loss=7.0))
    assert [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").open()] == [1.0, 7.0]
    assert read_log(tmp_path / "log.jsonl")[0]["other"] is None
    (start,) = [e.step for e in events(tmp_path) if e.session_log.status]
    assert start == 2, "TensorBoard drops what is from this step on"


def test_a_real_full_disk_is_named_and_loses_no_row(tiny_disk):
    (tiny_disk / "run").mkdir()

    def fill():
        with MetricLog(tiny_disk / "run") as log:
            for step in range(9000):
                log.write(row(step, loss=0.5))

    with pytest.raises(OSError, match=r"the disk is full; free some space.*/disk/run") as error:
        fill()
    assert error.value.errno == errno.ENOSPC
    kept = len(read_log(tiny_disk / "run" / "log.jsonl"))
    assert kept > 100
    with pytest.raises(OSError, match="the disk is full"):
        MetricLog(tiny_disk / "run", step=9000)
    assert len(read_log(tiny_disk / "run" / "log.jsonl")) == kept
