"""What a new process imports to search an index on disk."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import oracle
import pytest
import quick

from inres.retrieval import accelerator, native
from inres.storage import store

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("jax", "jaxlib", "flax", "optax", "orbax", "SimpleITK", "matplotlib")
PROGRAM = """
import json, sys
import numpy as np
from inres.retrieval import search
from inres.storage import store

root, engine = sys.argv[1:]
given = np.load(root + "/queries.npz")
codes, features = given["codes"], given["features"]
stored = store.load(root + "/index")
own = np.array([stored.group_number("scan3")] * len(codes))
found = [
    search.search(stored.index, codes, features, k=8, threshold=14, engine=engine),
    search.search(stored.index, codes, features, k=8, threshold=3, min_pool=9, engine=engine),
    search.search(stored.index, codes, features, k=8, nearest=30, engine=engine),
    search.search(
        stored.labelled, codes, features, k=8, threshold=14, engine=engine,
        exclude_group=own, only_label=np.full(len(codes), 1),
    ),
]
by_code = search.search_hamming(stored.index, codes, k=8, engine=engine)
records = stored.records.many([5, 3]), stored.records.where("label = 2").tolist()
print(json.dumps({
    "found": [[part.ids.tolist(), part.pool_size.tolist()] for part in found],
    "by_code": [part.tolist() for part in by_code],
    "records": records,
    "modules": sorted({name.split(".")[0] for name in sys.modules}),
}))
"""
N, K, BITS = 300, 8, 48


def run(*arguments, **environment):
    """What a new process with a program and its arguments prints, read as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def items():
    """Codes, features, scans and labels of N items in clusters; features are integers."""
    rng = np.random.default_rng(0)
    bits = (rng.random((4, BITS)) < 0.5)[rng.integers(0, 4, N)] ^ (rng.random((N, BITS)) < 0.1)
    packed = np.pad(np.packbits(bits, axis=1, bitorder="little"), ((0, 0), (0, 2))).view("<u4")
    features = rng.integers(-9, 10, (N, 8)).astype(np.float32)
    return packed, features, np.arange(N) // 30, rng.integers(0, 3, N)


@pytest.fixture(scope="module")
def on_disk(items, tmp_path_factory):
    """A folder with the items as an index, and three queries."""
    root = tmp_path_factory.mktemp("imports")
    packed, features, scan, label = items
    records = {"scan": [f"scan{number}" for number in scan], "label": label}
    store.save(
        root / "index", packed, features, records, bits=BITS, model="", group="scan", label="label"
    )
    np.savez(root / "queries.npz", codes=packed[:3], features=features[:3] + 1)
    return root


def check(answer, items):
    """Compare the answers of a process with brute force."""
    codes, features, scan, label = items
    own = {"groups": scan, "exclude_group": np.full(3, 3)}
    classes = {"labels": label, "only_label": np.full(3, 1)}
    pools = [{"threshold": 14}, {"threshold": 3, "min_pool": 9}, {"nearest": 30}]
    for (ids, sizes), pool in zip(
        answer["found"], [*pools, {"threshold": 14, **own, **classes}], strict=True
    ):
        right = oracle.search(codes, features, codes[:3], features[:3] + 1, k=K, **pool)
        np.testing.assert_array_equal(ids, right[0])
        np.testing.assert_array_equal(sizes, right[3])
    np.testing.assert_array_equal(answer["by_code"], oracle.search_hamming(codes, codes[:3], k=K))
    records, of_class = answer["records"]
    assert [record["label"] for record in records] == label[[5, 3]].tolist()
    assert of_class == np.flatnonzero(label == 2).tolist()


def test_a_search_with_the_kernel_imports_nothing_for_networks_scans_or_figures(items, on_disk):
    if native.kernel() is None:
        pytest.skip("the kernel was not built, so a search uses JAX")
    answer = run(PROGRAM, str(on_disk), "auto", JAX_PLATFORMS="cpu")
    check(answer, items)
    assert not {*HEAVY} & {*answer["modules"]}


def test_the_jitted_programs_import_jax_and_give_the_same_answers(items, on_disk):
    environment = quick.environment() | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    answer = run(PROGRAM, str(on_disk), "jax", **environment)
    check(answer, items)
    assert "jax" in answer["modules"]
    assert not ({*HEAVY} - {"jax", "jaxlib"}) & {*answer["modules"]}


ASK = """
import json, sys
from inres.retrieval import accelerator
found = accelerator.is_default()
print(json.dumps([found, "jax" in sys.modules]))
"""


def test_jax_is_asked_for_its_device_where_a_plugin_is_installed(tmp_path):
    plugin = tmp_path / "jax_plugins" / "xla_none"
    plugin.mkdir(parents=True)
    (plugin / "__init__.py").write_text("def initialize():\n    pass\n")
    path = f"{ROOT}{os.pathsep}{tmp_path}"
    assert run(ASK, PYTHONPATH=path, JAX_PLATFORMS="cpu") == [False, False]
    found, asked = run(ASK, PYTHONPATH=path, JAX_PLATFORMS="")
    assert asked
    if not any(map(importlib.util.find_spec, accelerator.PACKAGES)):
        assert not found  # the plugin has no device


@pytest.mark.parametrize(
    ("platforms", "packages", "variables", "expected"),
    [
        ("", (), {}, False),
        ("cpu", ("jax_plugins",), {}, False),
        ("cuda,cpu", (), {}, True),
        ("", ("jax_plugins",), {}, True),
        ("", ("libtpu",), {}, True),
        ("", (), {"TPU_LIBRARY_PATH": "/lib/libtpu.so"}, True),
        ("", (), {"PJRT_NAMES_AND_LIBRARY_PATHS": "mine:/lib/mine.so"}, True),
    ],
)
def test_signs_of_an_accelerator(platforms, packages, variables, expected, monkeypatch):
    for name in accelerator.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in {"JAX_PLATFORMS": platforms, **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(
        accelerator.importlib.util, "find_spec", lambda name: object() if name in packages else None
    )
    assert accelerator._may_exist() == expected
