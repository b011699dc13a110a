"""Compile the search for an H100 on a machine without a GPU, to see what its programs do.

    pip install -e '.[cuda]'
    python -m experiments.bench.compile_for_gpu --queries=64

Nothing runs, so nothing is timed. For the nearest codes by sorting, as on a CPU, and by counting,
as on an accelerator, it prints the number of kernels, how many of them read codes, what is sorted,
the loops, and the temporary memory.
"""

import os
import re
import sys
from collections.abc import Callable
from typing import Any

# The plugin otherwise refuses to load without a driver.
os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from inres.retrieval import counting, hamming, tiling
from inres.system import tables

ITEMS = flags.DEFINE_integer("items", 100_000_000, "Number of items.", lower_bound=1)
QUERIES = flags.DEFINE_integer("queries", 1, "Number of queries.", lower_bound=1)
WORDS = flags.DEFINE_integer("words", 2, "Words of 32 bits in a code.", lower_bound=1)
K = flags.DEFINE_integer("k", 100, "Number of nearest codes.", lower_bound=1)

H100 = """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 84929347584
  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
runtime_version { major: 13 minor: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
"""XLA's description of the chip (`GpuTargetConfigProto`)."""


def compiled(nearest: Callable[..., Any]) -> jax.stages.Compiled:
    """A program that finds the nearest codes, compiled for the chip.

    Raises:
      RuntimeError: the plugin is missing.
    """
    try:
        topology = topologies.get_topology_desc(
            platform="cuda", target_config=H100, topology="1x1x1"
        )
    except (NotImplementedError, RuntimeError) as error:
        raise RuntimeError(f"{error}; install JAX's plugin: pip install -e '.[cuda]'") from None
    sharding = NamedSharding(Mesh(np.array(topology.devices[:1]), ("d",)), PartitionSpec())

    def array(*shape: int, dtype: Any = jnp.uint32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    def program(codes: jax.Array, queries: jax.Array, count: jax.Array) -> Any:
        return nearest(
            codes, queries, count, hamming.Tags(None, None), hamming.Filters(None, None), k=K.value
        )

    codes = array(tiling.tiles(ITEMS.value), WORDS.value, hamming.BLOCK, hamming.LANES)
    queries, count = array(QUERIES.value, WORDS.value), array(dtype=jnp.int32)
    return jax.jit(program).trace(codes, queries, count).lower(
        lowering_platforms=("cuda",)
    ).compile()  # fmt: skip


def described(program: jax.stages.Compiled) -> dict[str, Any]:
    """What a compiled program does, for a table."""
    text = program.as_text() or ""
    memory: Any = program.memory_analysis()
    # Not in the bodies of loops.
    called = [line for line in text.split("ENTRY")[-1].splitlines() if " fusion(" in line]
    readers = [line for line in called if re.search(r"%codes\S*[,)]", line.split(" fusion(")[1])]
    return {
        "kernels": len(called),
        "readers": len(readers),
        "sorts": ", ".join(re.findall(r" = \(?(\S+?)\{.* sort\(", text)) or "none",
        "loops": len(re.findall(r" while\(", text)),
        "temporary": round(memory.temp_size_in_bytes / 1e6, 1),
    }


def main(arguments: list[str]) -> None:
    """Compile both programs and print a table."""
    if arguments[1:]:
        raise app.UsageError(f"unknown argument {arguments[1]!r}; flags begin with --")
    headings = "", "kernels", "that read codes", "sorted", "loops", "temporary memory, MB"
    try:
        rows = [
            [name, *described(compiled(nearest)).values()]
            for name, nearest in (("sorting", hamming.nearest), ("counting", counting.nearest))
        ]
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    print(tables.markdown(headings, rows))


if __name__ == "__main__":
    app.run(main)
