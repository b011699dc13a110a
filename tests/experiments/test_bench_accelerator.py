"""Benchmark and checks of an accelerator, at a tiny size on a CPU."""

import json
import subprocess
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench import (
    accelerator,
    accelerator_search,
    check_runner,
    chips,
    compiled,
    device_checks,
    device_items,
    gpu_rivals,
)
from experiments.configs.bench_accelerator import get_config
from inres import config as config_lib
from inres.config import ConfigError

pytestmark = pytest.mark.usefixtures("quick_programs")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA A100-SXM4-80GB", "A100 SXM 80 GB"),
        ("NVIDIA A100-SXM4-40GB", "A100 40 GB"),
        ("NVIDIA L4", "L4"),
        ("Tesla T4", "T4"),
        ("TPU v4", "TPU v4"),
        ("TPU v5 lite", "TPU v5e"),
        ("TPU v5p", "TPU v5p"),
        ("TPU v6 lite", "TPU v6e"),
    ],
)
def test_chips_are_found_by_their_kind(kind, name):
    assert chips.chip_of(kind).name == name


@pytest.mark.parametrize("kind", ["cpu", "NVIDIA L40S", "NVIDIA GH200 480GB", "NVIDIA T400"])
def test_other_chips_are_not_taken_for_one_in_the_table(kind):
    assert chips.chip_of(kind) is None


def test_rates_can_be_given():
    given = {"bandwidth": 1e12, "float32": 0.0, "bfloat16": 0.0}
    chip = chips.peaks("NVIDIA H200", given)
    assert (chip.bandwidth, chip.float32) == (1e12, chips.chip_of("NVIDIA H200").float32)
    chip = chips.peaks("mine", {field: 1e9 for field in chips.FIELDS})
    assert (chip.name, chip.float32, chip.measured) == ("mine", 1e9, False)
    chip = chips.measured("cpu", side=64, words=1 << 16)
    assert chip.measured
    assert min(chip.bandwidth, chip.float32, chip.bfloat16) > 0


def test_costs_are_those_of_the_program():
    a, b = jnp.ones((8, 32)), jnp.ones((32, 16))
    program, cost = compiled.compiled(lambda: jax.jit(jnp.matmul).trace(a, b))
    assert program(a, b).shape == (8, 16)
    assert cost.flops == 2 * 8 * 32 * 16
    assert cost.bytes == 4 * (8 * 32 + 32 * 16 + 8 * 16)
    assert cost.memory >= cost.bytes
    assert (3 * cost.flops, cost.compile_s) == ((cost * 3).flops, (cost * 3).compile_s)


def test_random_items_have_the_order_of_their_ids():
    index = device_items.random_index(1500, bits=64, dims=3, seed=0)
    codes = device_items.host_codes(index)
    assert codes.shape == (1500, 2)
    walked = np.asarray(index.codes.codes).transpose(0, 2, 1).reshape(-1, 2)[:1500]
    np.testing.assert_array_equal(codes, walked)
    distance = device_items.distances(codes, codes[7])
    assert device_items.nearest(distance, 1) == [7]
    assert distance.mean() == pytest.approx(32, abs=1)


@pytest.fixture(scope="module")
def config():
    config = get_config()
    # The step of the checks, so that it is compiled only once.
    light = config.networks["light"] = device_checks.experiment(small=True)
    light.segment.size_px, light.segment.batch = 32, 2
    light.segment.width, light.segment.depth = 4, 2
    for name in ("paper", "volume"):
        config_lib.checked(config.networks[name])
        del config.networks[name]
    config.precisions, config.pytorch = ("float32",), False
    config.run = ("training", "coarse", "two_stages")
    config.sizes, config.queries, config.k, config.dims = (3000, 10**12), (4,), 10, 8
    config.rounds, config.round_seconds = 1, 0.01
    config.peaks.bandwidth = config.peaks.float32 = config.peaks.bfloat16 = 1e10
    return config


def test_everything_is_measured(config, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(accelerator_search, "free_bytes", lambda: 10**9)
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    monkeypatch.setattr(accelerator.compile_cache, "keep_programs", lambda place: None)
    accelerator.measure_accelerator(config, tmp_path)
    record = json.loads((tmp_path / "accelerator.json").read_text(encoding="utf-8"))
    parts = [row["part"] for row in record["rows"]]
    assert parts == ["training step", "coarse", "two stages"]
    for row in record["rows"]:
        assert row["ms"] > 0
        assert row["bytes"] > 0
        assert row["bandwidth_share"] == pytest.approx(
            row["bytes"] / row["queued_ms"] * 1e3 / 1e10, rel=1e-6
        )
        assert row["compile_s"] > 0
        searches = row["part"] in ("coarse", "two stages")
        assert (row["flops_share"] is None) == searches
        assert ("times_reading_codes" in row) == searches
    coarse = record["rows"][1]
    assert coarse["codes_bytes"] == 8 * 3000
    assert coarse["checked"] == "NumPy"
    left_out = "\n".join(record["left_out"])
    assert "coarse, 1000000000000 items" in left_out
    assert "faiss GpuIndexBinaryFlat" in left_out
    assert "cuVS" in left_out
    text = (tmp_path / "accelerator.md").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    assert text.count("| inres |") == 3
    assert (tmp_path / "roofline.png").stat().st_size > 10_000


def test_wrong_answers_are_not_timed(config, monkeypatch):
    monkeypatch.setattr(device_items, "nearest", lambda distance, k: np.arange(k))
    with pytest.raises(RuntimeError, match="the device's differ from NumPy's"):
        next(accelerator_search.coarse_cases(config, []))


def test_an_unknown_part_is_an_error(config):
    config = config.copy_and_resolve_references()
    config.run = ("everything",)
    with pytest.raises(ConfigError, match=r"config\.run = 'everything': must be among training"):
        next(accelerator.cases(config, []))


def test_a_rival_with_other_answers_is_left_out():
    class Liar(gpu_rivals.GpuRival):
        name = "liar"

        def __init__(self, codes, bits):
            pass

        def top_k(self, queries, k):
            if k > 3:
                raise MemoryError("too many")
            return lambda: np.zeros((len(queries), k))

    messages = []
    queries = np.zeros((2, 2), np.uint32)
    assert Liar(None, 64).verified(queries, 3, np.zeros((2, 3)), messages) is not None
    assert Liar(None, 64).verified(queries, 3, np.ones((2, 3)), messages) is None
    assert Liar(None, 64).verified(queries, 4, np.ones((2, 4)), messages) is None
    assert messages == [
        "liar is left out: its distances are not ours", "liar: MemoryError: too many",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["environment", "exact search", "lowered search", "donation", "no transfers", "profile"]
)
def test_the_checks_pass_on_a_cpu(name):
    result = device_checks.CHECKS[name](small=True)
    assert result
    json.dumps(result)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("%1 = stablehlo.add %0, %0 : tensor<3xf64>", "float64"),
        ("%1 = stablehlo.add %0, %0 : tensor<f64>", "float64"),
        ("stablehlo.custom_call @xla_ffi_python_cpu_callback(%0)", "a call of the host"),
        ("%1 = stablehlo.dot_general %0, %0, precision = [DEFAULT, DEFAULT]", "highest precision"),
    ],
)
def test_faults_of_programs_are_found(line, fault):
    assert fault in device_checks.faults_of(line)[0]
    assert not device_checks.faults_of("stablehlo.dot_general precision = [HIGHEST, HIGHEST]")


def test_sorted_lengths_are_those_of_the_program():
    def program(x):
        return jax.lax.sort((x, x), num_keys=2), jax.lax.top_k(x[:, :50].astype(jnp.float32), 3)

    text = jax.jit(program).lower(jnp.zeros((4, 70), jnp.int32)).as_text()
    assert sorted(device_checks.sorted_lengths(text)) == [50, 70]


def test_a_failed_check_does_not_stop_the_others(tmp_path, capsys, monkeypatch):
    out = tmp_path / "check.json"
    monkeypatch.setitem(check_runner.BENCHMARKS, "never", (0.2, ()))
    record = check_runner.run_all(["no such check", "never"], out, small=True, limit_s=100)
    assert json.loads(out.read_text(encoding="utf-8")) == record
    failed, stopped = record["checks"].values()
    assert not failed["passed"]
    assert "no such check" in failed["error"]
    assert stopped["error"] == "stopped after 0 s"
    assert not record["passed"]
    assert capsys.readouterr().out.count("FAILED") == 2
    late = check_runner.run_all(["environment"], out, small=True, limit_s=0)
    assert late["checks"]["environment"]["error"] == "not run: no time was left"


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [(-9, "step 3 of 10\n", "ended by SIGKILL"), (1, " \n", "exit code 1"), (2, "x\ny\n", "y")],
)
def test_a_check_that_was_killed_says_so(status, error, said, tmp_path, capsys, monkeypatch):
    done = subprocess.CompletedProcess([], status, "", error)
    monkeypatch.setattr(check_runner.subprocess, "run", lambda *_, **__: done)
    check_runner.run_all(["environment"], tmp_path / "check.json", small=True, limit_s=100)
    assert f"environment: FAILED: {said} (" in capsys.readouterr().out


def test_a_query_with_an_empty_pool_agrees_with_numpy(monkeypatch):
    nothing = np.full((1, 3), -1), np.full((1, 3), 99), np.full((1, 3), np.inf), [0], None
    monkeypatch.setattr(accelerator_search.jitted, "search", lambda *_, **__: nothing)
    index = SimpleNamespace(features=jnp.ones((4, 2)))
    queries = SimpleNamespace(
        codes=np.zeros((1, 1), np.uint32), features=np.ones((1, 2)), threshold=np.zeros(1)
    )
    codes = np.ones((4, 1), np.uint32)
    assert accelerator_search._check_two_stages(index, codes, queries, k=3) == [0]


def test_the_flags_of_small_benchmarks_exist():
    config = get_config()
    for flag in check_runner.SMALL_FLAGS:
        value = config
        for part in flag.split("=")[0].removeprefix("--config.").split("."):
            assert part.isidentifier()
            value = value[part] if hasattr(value, "keys") else getattr(value, part)
