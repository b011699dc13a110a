"""Scans prepared by Dask's workers. `kill_cluster.py` kills them."""

import sys
from pathlib import Path

import pytest
from ct.trees import write_tree
from data.chests import SCANS, make_config, run
from system.kill_cluster import differences

from inres.data.scans import PrepareError
from inres.system import cluster

HERE = {"file": "seen", "inres": "1", "numpy": "2"}


def test_all_workers_must_be_like_this_machine():
    mark = Path("/shared/mark")
    cluster.require_equal({"a": HERE, "b": HERE}, mark, HERE)
    with pytest.raises(cluster.ClusterError, match="worker b: does not see /shared; the workdir"):
        cluster.require_equal({"a": HERE, "b": HERE | {"file": "not seen"}}, mark, HERE)
    with pytest.raises(cluster.ClusterError, match="worker b: numpy is 3, here it is 2; install"):
        cluster.require_equal({"b": HERE | {"numpy": "3"}}, mark, HERE)


def test_a_worker_says_what_it_has(tmp_path):
    found = cluster.describe(str(tmp_path))
    assert found["file"] == "seen"
    assert found["Python"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert cluster.describe(str(tmp_path / "none"))["file"] == "not seen"


@pytest.mark.slow
def test_a_cluster_prepares_what_this_machine_prepares(tmp_path):
    distributed = pytest.importorskip("distributed")
    root = tmp_path / "data"
    write_tree(root, SCANS)
    config = make_config(root)
    alone = run(config, root, tmp_path / "alone").root
    options = {"n_workers": 3, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as local:
        config.data.scheduler = local.scheduler_address
        spread = run(config, root, tmp_path / "spread").root
        assert not differences(alone, spread)
        # A scan that cannot be read is named, as by this machine.
        damaged = sorted(root.glob("subset0/*.zraw"))[0]
        data = damaged.read_bytes()
        damaged.write_bytes(data[:500] + bytes(200) + data[700:])
        with pytest.raises(PrepareError, match=r"1 of 3 scans could not be read.*\n.*damaged"):
            run(config, root, tmp_path / "damaged")


def test_a_scheduler_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_S", 1)
    root = tmp_path / "data"
    write_tree(root, SCANS)
    config = make_config(root)
    config.data.scheduler = "tcp://127.0.0.1:9"
    with pytest.raises(PrepareError, match=r"--scheduler=tcp://127.0.0.1:9: no scheduler with a"):
        run(config, root, tmp_path / "out")
