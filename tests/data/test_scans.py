"""Scans prepared in parallel, interrupted, damaged, and on a full disk."""

import dataclasses
import errno
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from data.chests import (
    make_config,
    normals,
    run,
    table,
)

from inres.data import collect, scan_items, scans
from inres.data.prepare import prepare
from inres.pipeline.prepare import prepare_items
from inres.pipeline.stages import StageError
from inres.sources import SourceError
from inres.system import files
from inres.system.rows import Rows

pytestmark = pytest.mark.slow


def test_two_workers_and_a_second_run_give_the_same(tree, store, tmp_path):
    other = run(make_config(tree), tree, tmp_path / "o", workers=2)
    for name in ("items.csv", "audit.csv", "meta.json", "slices.rows", "lung_masks.rows"):
        assert (other.root / name).read_bytes() == (store.root / name).read_bytes()
    changed = make_config(tree)
    changed.data = dataclasses.replace(changed.data, seed=1)
    assert table(run(changed, tree, tmp_path / "p")) != table(store)


def test_an_interrupted_run_continues(tree, store, tmp_path, monkeypatch):
    config, out = make_config(tree), tmp_path / "o"
    work, done = scan_items.work, []

    def stopping(job):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(job.scan.uid)
        work(job)

    monkeypatch.setattr(scan_items, "work", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(config, tree, out)
    assert not (out / "items.csv").exists()
    assert sorted(p.name for p in (out / "scans").iterdir()) == ["b.npz", "c.npz"]
    first = done.copy()
    done.clear()
    result = run(config, tree, out)
    assert (first, done) == (["b", "c"], ["a"])
    assert table(result) == table(store)
    np.testing.assert_array_equal(result.slices, store.slices)


@pytest.mark.parametrize("change", ["clearance", "finding", "damage", "view"])
def test_only_changed_scans_are_prepared_again(tree, tmp_path, monkeypatch, change):
    root, out = shutil.copytree(tree, tmp_path / "tree"), tmp_path / "o"
    monkeypatch.setattr(collect, "collect", lambda *a, **k: None)
    monkeypatch.setattr(scans.shutil, "rmtree", lambda *a, **k: None)
    config = make_config(root)
    prepare(config, root=root, out=out, workers=1, progress=lambda s, **_: s)
    done = []
    monkeypatch.setattr(scan_items, "work", lambda job: done.append(job.scan.uid))
    expected = ["b", "c", "a"]
    if change == "clearance":
        config = make_config(root, normal_clearance_mm=9.0)
    elif change == "finding":
        with open(root / "annotations_excluded.csv", "a") as file:
            file.write("c,1,1,1,4\n")
        expected = ["c"]
    elif change == "damage":
        (out / "scans" / "b.npz").write_bytes((out / "scans" / "b.npz").read_bytes()[:1000])
        expected = ["b"]
    elif change == "view":
        config, expected = make_config(root, view="slice", size_px=64), []
    prepare(config, root=root, out=out, workers=1, progress=lambda s, **_: s)
    assert done == expected


def test_the_table_of_a_store_is_its_last_file(tree, tmp_path, monkeypatch):
    """What an addition to an archive takes for complete is complete, whenever it was killed."""
    written = []
    write = files.atomic_path

    def noting(path):
        written.append(Path(path).name)
        return write(path)

    monkeypatch.setattr(files, "atomic_path", noting)
    run(make_config(tree), tree, tmp_path / "o")
    assert written[-1] == "items.csv"
    assert {"meta.json", "scans.csv", "slices.rows"} <= {*written}


def test_fewer_clear_slices_than_configured_are_reported(tree, tmp_path):
    result = run(make_config(tree, normals=500), tree, tmp_path / "o")
    meta = files.read_json(result.root / "meta.json")
    assert meta["normals"]["made"] == len(normals(result)) < 200
    assert f"{meta['normals']['made']} normal slices instead of 500" in meta["messages"][0]
    assert len(run(make_config(tree, normals=0), tree, tmp_path / "p").items) == 3


def test_a_store_without_items_is_refused(tree, tmp_path):
    config = make_config(tree, canvas_mm=50.0, normals=0)
    with pytest.raises(collect.PrepareError, match=r"not one item.*items\.canvas_mm = 50\b"):
        run(config, tree, tmp_path / "o")


def test_unreadable_scans_do_not_stop_the_others(tree, tmp_path):
    root, out = shutil.copytree(tree, tmp_path / "tree"), tmp_path / "o"
    data = root / "subset0" / "b.zraw"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 0xFF  # of the right size, so that it shows on reading only
    data.write_bytes(bytes(content))
    with pytest.raises(
        collect.PrepareError, match=r"1 of 3 scans could not be read(.*\n)+.*b\.zraw"
    ):
        run(make_config(root), root, out)
    assert sorted(p.name for p in out.iterdir()) == ["scans"]
    assert sorted(p.name for p in (out / "scans").iterdir()) == ["a.npz", "c.npz"]
    with pytest.raises(
        collect.PrepareError, match=r"1 of 1 scans could not be read(.*\n)+.*b\.zraw"
    ):
        run(make_config(root), root, out, workers=2)


def test_a_scan_fetched_again_is_prepared_in_the_same_workdir(tree, tmp_path, monkeypatch):
    root = shutil.copytree(tree, tmp_path / "tree")
    config, data = make_config(root), root / "subset0" / "b.zraw"
    config.data.workers = 1
    whole = data.read_bytes()
    data.write_bytes(whole[:-100] + bytes(100))
    with pytest.raises(collect.PrepareError, match="1 of 3 scans could not be read"):
        prepare_items(config, tmp_path)
    data.write_bytes(whole)
    work, done = scan_items.work, []
    monkeypatch.setattr(scan_items, "work", lambda job: (done.append(job.scan.uid), work(job)))
    prepare_items(config, tmp_path)
    assert done == ["b"]
    data.touch()
    with pytest.raises(StageError, match="other data: input files changed"):
        prepare_items(config, tmp_path)


def test_truncated_scan_is_found_before_work_starts(tree, tmp_path):
    root, out = shutil.copytree(tree, tmp_path / "tree"), tmp_path / "o"
    data = root / "subset0" / "b.zraw"
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(SourceError, match=r"b\.zraw: truncated"):
        run(make_config(root), root, out)
    assert not out.exists()


def test_a_scan_without_lungs_is_reported_and_kept(tree, tmp_path):
    root = shutil.copytree(tree, tmp_path / "tree")
    path = root / "subset0" / "b.mhd"
    image = sitk.ReadImage(str(path))
    hu = sitk.GetArrayFromImage(image)
    solid = sitk.GetImageFromArray(np.where(hu > -950, 40, hu).astype(np.int16))
    solid.CopyInformation(image)
    sitk.WriteImage(solid, str(path), True)
    result = run(make_config(root), root, tmp_path / "o")
    (message,) = files.read_json(result.root / "meta.json")["messages"]
    assert "b.mhd: no lungs found (values -" in message
    assert result.lung_masks[0].any()
    located = {item.scan for item in result.items if "pleura_mm" in item.properties}
    assert located == {item.scan for item in result.items} - {"b"}


def test_lack_of_disk_space_is_found_before_work_starts(tree, tmp_path, monkeypatch):
    usage = shutil._ntuple_diskusage(10, 10, 1000)
    monkeypatch.setattr(scans.shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(scan_items, "work", lambda job: pytest.fail("work started"))
    with pytest.raises(OSError, match="are needed, 1e-06 are free") as error:
        run(make_config(tree), tree, tmp_path / "o")
    assert error.value.errno == errno.ENOSPC


def test_disk_space_is_required_only_for_what_is_missing(tree, store, tmp_path, monkeypatch):
    """When all scans are done, that is the store alone, by the shares of compressed pixels."""
    out = tmp_path / "o"
    monkeypatch.setattr(collect, "collect", lambda *a, **k: None)
    monkeypatch.setattr(scans.shutil, "rmtree", lambda *a, **k: None)
    prepare(make_config(tree), root=tree, out=out, workers=1)
    monkeypatch.undo()
    sizes = {path.stem: Rows(path).nbytes for path in store.root.glob("*.rows")}
    masks = scans.PACKED_MASK * sizes.pop("lung_masks")
    need = math.ceil(scans.PACKED_IMAGE * sum(sizes.values()) + masks)
    assert need > sum(path.stat().st_size for path in store.root.glob("*.rows"))

    def free(count):
        usage = shutil._ntuple_diskusage(10**12, 10**12 - count, count)
        monkeypatch.setattr(scans.shutil, "disk_usage", lambda path: usage)

    done = out / "scans" / "a.npz"
    content = done.read_bytes()
    done.unlink()
    free(need)
    with pytest.raises(OSError, match="are needed"):
        run(make_config(tree), tree, out)
    done.write_bytes(content)
    free(need - 1)
    with pytest.raises(OSError, match="are needed"):
        run(make_config(tree), tree, out)
    free(need)
    assert table(run(make_config(tree), tree, out)) == table(store)


@pytest.mark.parametrize("full_at", ["scan", "store"])
def test_full_disk_leaves_nothing_half_written(tree, store, tmp_path, monkeypatch, full_at):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if full_at == "scan":
            patch.setattr(np, "savez", full)
        else:
            patch.setattr(files, "write_csv", full)
        with pytest.raises(OSError, match=r"disk is full; (make room|free some).*/o[/']"):
            run(make_config(tree), tree, tmp_path / "o")
    assert not list((tmp_path / "o").rglob(".*"))
    assert not (tmp_path / "o" / "items.csv").exists()
    assert table(run(make_config(tree), tree, tmp_path / "o")) == table(store)


CTRL_C = """
import sys
from pathlib import Path
import endless
from inres.config import Config, Data, Items
from inres.data import scan_items
from inres.data.prepare import prepare
if __name__ == "__main__":
    root, out = sys.argv[1:]
    scan_items.work = endless.work
    config = Config(data=Data(kind="phantom", root=root), items=Items(normals=4))
    prepare(config, root=root, out=out, workers=2)
"""

ENDLESS = """
import os, time
def work(job):
    open(f"at_work_{os.getpid()}", "w").close()
    time.sleep(600)
"""


def wait_until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def group_lives(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_ctrl_c_ends_all_processes_at_once(tree, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(CTRL_C)
    (tmp_path / "endless.py").write_text(ENDLESS)  # workers import it by its name
    root = Path(scans.__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, str(script), str(tree), str(tmp_path / "o")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{tmp_path}"},
        encoding="utf-8",
    )
    try:
        wait_until(lambda: len(list(tmp_path.glob("at_work_*"))) == 2)
    except AssertionError:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT or "KeyboardInterrupt" in errors
    wait_until(lambda: not group_lives(process.pid), seconds=10)
    assert not (tmp_path / "o" / "items.csv").exists()
