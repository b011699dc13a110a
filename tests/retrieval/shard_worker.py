"""Run by test_sharded: one process of a search over several devices."""

import json
import sys

import numpy as np

DIMS, BITS, ITEMS = 24, 48, 5000


def data():
    """Items with ties and an offset, groups, labels, ids."""
    from inres.retrieval import codes

    rng = np.random.default_rng(0)
    middle = rng.random((4, BITS)) < 0.5
    # So few distinct codes that up to four devices scan those, and eight all codes.
    distinct = np.repeat(middle, 75, axis=0) ^ (rng.random((300, BITS)) < 0.05)
    packed = codes.pack(distinct[rng.integers(0, 300, ITEMS)])
    features = (5 + rng.standard_normal((ITEMS, DIMS))).astype(np.float32)
    features[1::3] = features[0::3][: len(features[1::3])]
    tags = {"groups": rng.integers(-1, 6, ITEMS), "labels": rng.integers(-1, 3, ITEMS)}
    return packed, features, tags | {"ids": rng.permutation(2 * ITEMS)[:ITEMS]}


def arguments(packed, features):
    """Queries, and the arguments of searches with two kinds of pools."""
    codes = packed[:4].copy()
    codes[3] ^= np.uint32(0xFFF)  # far from all items: its threshold is raised
    common = {
        "exclude_group": np.array([-1, 2, 0, 5]),
        "only_label": np.array([1, -1, -1, 2]),
        "k": 20,
    }
    radius = {"threshold": np.array([3, 7, 25, 1]), "min_pool": 3}
    pools = {"radius": common | radius, "nearest": common | {"nearest": 150}}
    return (codes, features[10:14] + np.float32(0.25)), pools


def main():
    processes, rank, port, counts = (int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
    import jax

    if processes > 1:
        jax.distributed.initialize(f"localhost:{port}", processes, rank)
    from inres.retrieval import plans, sharded

    plans.TOGETHER_MANY = ()  # fewer plans to compile; all are tested on one device
    packed, features, tags = data()
    queries, pools = arguments(packed, features)
    items = {"bits": BITS} | tags
    out = {}
    for count in map(int, counts.split(",")):
        mesh = sharded.make_mesh(jax.devices()[:count])
        built = sharded.build(packed, features, mesh=mesh, **items)
        for pool, options in pools.items():
            result = sharded.search(built, *queries, mesh=mesh, **options)
            out[f"{count} {pool}"] = {n: values.tolist() for n, values in result._asdict().items()}
    if rank == 0:
        json.dump(out, sys.stdout)
    if processes > 1:
        jax.distributed.shutdown()


if __name__ == "__main__":
    main()
