#!/bin/bash
# Checks one accelerator and measures it in less than ten minutes, excluding the installation.
#
#   pip install -e '.[cuda,bench]'     or '.[tpu]'
#   experiments/bench/accelerator_check.sh [--out=accelerator_check.json]
#
# Writes one JSON file: chip, versions, every check with its result or its error, and the results
# of the benchmark. A check that fails, hangs or runs out of memory does not stop the others. With
# --small it takes little data and also runs on a CPU. PYTHON names another interpreter.
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" -m experiments.bench.accelerator_check "$@"
