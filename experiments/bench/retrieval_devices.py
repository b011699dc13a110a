"""Times of the sharded search with jitted programs over several CPU devices of one process."""

import functools
import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from experiments.bench import timing
from experiments.bench.random_items import RandomItems
from experiments.bench.retrieval_case import threshold_for
from inres.retrieval import sharded
from inres.system import files


def measure_devices(config: ConfigDict) -> list[dict[str, Any]]:
    """Rows of the sharded search over the devices of this process."""
    mesh = sharded.make_mesh()
    rows = []
    n, k, bits, dims = config.devices.size, config.k, 64, 256
    for kind in config.devices.codes:
        items = RandomItems(kind, n, bits=bits, dims=dims, seed=config.seed, trained=config.trained)
        wide = np.concatenate(list(items.features()))
        built = sharded.build(items.codes, wide, bits=bits, mesh=mesh)
        for q, pool in itertools.product((1, 64), (40.0, 0.1)):
            limit = threshold_for(pool, items.codes, items.codes[:q], bits)
            queries = (items.codes[:q], wide[:q] + np.float32(0.1))
            ask = functools.partial(
                sharded.search, built, *queries, mesh=mesh, threshold=limit, k=k
            )
            compile_seconds = timing.seconds_of(ask)
            size = float(np.median(ask().pool_size))
            times = timing.interleaved(
                {"ours": ask}, rounds=config.rounds, round_seconds=config.round_seconds
            )
            rows.append(
                {
                    "case": "sharded", "codes": kind, "items": n, "bits": bits, "dims": dims,
                    "k": k, "queries": q, "devices": mesh.size, "pool": size,
                    "ours": times["ours"].summary(), "compile_s": round(compile_seconds, 1),
                    "bytes_a_query_and_device": sharded.bytes_exchanged(k=k),
                }
            )  # fmt: skip
    return rows


def run_devices(config: ConfigDict, workdir: Path) -> list[dict[str, Any]]:
    """Run `measure_devices` in a process of its own for each number of devices."""
    rows = []
    for count in config.devices.counts:
        environment = {
            **os.environ,
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}",
            "JAX_PLATFORMS": "cpu",
        }
        # The flags of this process, and the number of devices.
        command = [sys.executable, "-m", "experiments.bench", *sys.argv[1:], f"--devices={count}"]
        subprocess.run(command, env=environment, check=True)
        rows += files.read_json(workdir / f"devices-{count}.json")
    return rows
