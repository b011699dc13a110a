import json
import math
import re

import jax
import numpy as np
import oracle
import pytest
import shard_worker
from processes import run as run_processes

from inres.retrieval import checks, padding, sharded

pytestmark = pytest.mark.slow


def run(processes, devices, counts):
    """The results that process 0 reports, by number of devices."""
    output = run_processes(shard_worker.__file__, processes, devices, ",".join(map(str, counts)))
    return json.loads(output)


def assert_same(reported, expected, counts):
    for count in counts:
        for pool in ("radius", "nearest"):
            for name, values in expected[f"1 {pool}"].items():
                got = reported[f"{count} {pool}"][name]
                np.testing.assert_array_equal(got, values, f"{name}, {count} devices, {pool}")


@pytest.fixture(scope="module")
def one_process():
    return run(1, 8, (1, 3, 8))


def test_the_data_has_raised_thresholds_and_ties(one_process):
    single = one_process["1 radius"]
    assert single["threshold"][1:3] == [7, 25]
    assert single["threshold"][3] > 1
    distance = np.array(single["distance"])
    assert (distance[:, 1:] == distance[:, :-1])[np.isfinite(distance[:, 1:])].any()
    assert one_process["1 nearest"]["pool_size"] == [150] * 4


def test_one_device_equals_brute_force(one_process):
    packed, features, tags = shard_worker.data()
    queries, pools = shard_worker.arguments(packed, features)
    for pool, options in pools.items():
        ids, hamming, square, size = oracle.search(packed, features, *queries, **tags, **options)
        got = one_process[f"1 {pool}"]
        np.testing.assert_array_equal(got["pool_size"], size)
        np.testing.assert_allclose(np.square(got["distance"]), square, rtol=1e-5)
        # The lower id of duplicated rows comes first, so ids can be compared.
        np.testing.assert_array_equal(got["ids"], ids)
        np.testing.assert_array_equal(got["hamming"], hamming)


def test_any_number_of_devices_gives_the_same(one_process):
    assert_same(one_process, one_process, (3, 8))


def test_two_processes_give_the_same(one_process):
    assert_same(run(2, 2, (4,)), one_process, (4,))


@pytest.mark.parametrize("pool", [{"threshold": 3}, {"nearest": 7}])
def test_a_query_costs_the_documented_bytes(pool, clustered):
    """The collectives of the lowered program move exactly `bytes_exchanged`."""
    gallery, features = clustered(100)
    mesh = sharded.make_mesh(jax.devices()[:1])
    built = sharded.build(gallery, features, bits=48, mesh=mesh)
    checked = checks.queries(gallery[:4], features[:4], bits=48, dims=8, k=10, **pool)
    nearest = pool.get("nearest")
    text = sharded.search_padded.lower(
        built, padding.padded(checked), mesh=mesh, k=10, nearest=nearest, min_pool=0
    ).as_text()
    lines = re.split(r"\n(?=.*stablehlo\.(?:all_gather|all_reduce))", text)[1:]
    moved = [re.search(r"-> tensor<([0-9x]+)x[if]32>", part).group(1) for part in lines]
    numbers = sum(math.prod(map(int, shape.split("x"))) for shape in moved)
    assert 4 * numbers == 4 * sharded.bytes_exchanged(k=10, pool=nearest or 0)
