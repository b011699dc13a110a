"""Checks which modules may import which."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Forbidden imports: (files, modules that they must not import).
RULES = {
    "inres does not import experiments": ("inres/**/*.py", ("experiments",)),
    "flags are in experiments only": ("inres/**/*.py", ("absl", "ml_collections")),
    "ct is independent of jax, data and models": (
        "inres/ct/**/*.py",
        ("jax", "flax", "inres.data", "inres.models"),
    ),
    "evaluation is independent of jax and of the search": (
        "inres/evaluation/*.py",
        ("jax", "flax", "inres.retrieval"),
    ),
    "the index on disk is independent of jax": ("inres/storage/*.py", ("jax", "flax")),
    "searches, and exported networks, need no flax": (
        "inres/retrieval/*.py",
        ("flax",),
    ),
    "models depend on no other package": (
        "inres/models/**/*.py",
        ("inres.config", "inres.data", "inres.ct", "inres.learning"),
    ),
    "losses are below the config, which contains their settings": (
        "inres/learning/losses/*.py",
        ("inres.config", "inres.data", "inres.learning.objective", "inres.learning.recipe"),
    ),
    "codebooks use arrays only": ("inres/learning/codebooks.py", ("inres", "jax", "flax")),
    "the training loop is independent of data and models": (
        "inres/learning/loop.py",
        ("inres.data", "inres.models", "inres.config", "inres.learning.recipe"),
    ),
    "figures use arrays only": (
        "inres/figures/*.py",
        ("inres.config", "inres.data", "inres.evaluation", "inres.report", "jax"),
    ),
    "the report is below the pipeline": (
        "inres/report/**/*.py",
        ("inres.pipeline", "inres.studies"),
    ),
    "only the command line is above the web server": (
        "inres/[!w]*/**/*.py",
        ("inres.web", "starlette", "uvicorn"),
    ),
    "the web server's logic is in the library": (
        "inres/web/*.py",
        ("inres.retrieval", "inres.models", "inres.learning", "inres.pipeline", "jax"),
    ),
    "phantoms are independent of jax": ("inres/phantoms/*.py", ("jax", "flax")),
    "sources are independent of jax": ("inres/sources/*.py", ("jax", "flax")),
    "data is below models": (
        "inres/data/*.py",
        ("inres.models", "inres.learning", "inres.retrieval"),
    ),
}

# Allowed imports: all modules of inres that the files may import, their own package included.
ONLY = {
    "inres/retrieval/*.py": ("inres.retrieval",),
    "inres/storage/*.py": ("inres.storage", "inres.retrieval", "inres.system"),
    "inres/system/*.py": ("inres.system",),
    "inres/vocabulary.py": (),
    "inres/ct/**/*.py": ("inres.ct", "inres.system"),
    "inres/lidc/*.py": ("inres.lidc",),
    "inres/phantoms/*.py": (
        *("inres.phantoms", "inres.config", "inres.vocabulary", "inres.system"),
    ),
    "inres/sources/*.py": (
        *("inres.sources", "inres.phantoms", "inres.ct", "inres.lidc"),
        *("inres.config", "inres.vocabulary", "inres.system"),
    ),
    "inres/data/*.py": (
        *("inres.data", "inres.sources", "inres.ct"),
        *("inres.config", "inres.vocabulary", "inres.system"),
    ),
    "inres/figures/*.py": ("inres.figures", "inres.vocabulary", "inres.system"),
    "inres/evaluation/*.py": (
        *("inres.evaluation", "inres.vocabulary", "inres.system"),
        "inres.encoding.linear_codes",
    ),
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def module_graph(root: Path, package: str) -> dict[str, set[str]]:
    """Imports among the modules of a package, including those in functions and type checking."""
    paths = {}
    for path in (root / package).rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph = {}
    for module, path in paths.items():
        graph[module] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                # `from a import b` imports the module a.b, or a name that a defines.
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                names = {name if name in paths else node.module for name in inner}
            else:
                continue
            graph[module] |= names & paths.keys()
    return graph


def find_cycle(graph: dict[str, set[str]]) -> list[str] | None:
    """Modules of one import cycle in order, the first one repeated; None if there is none."""
    finished: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str] | None:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in finished:
            return None
        for imported_module in sorted(graph[module]):
            if cycle := visit(imported_module, [*path, module]):
                return cycle
        finished.add(module)
        return None

    for module in sorted(graph):
        if cycle := visit(module, []):
            return cycle
    return None


def test_no_modules_import_each_other():
    graph = module_graph(ROOT, "inres")
    assert "inres.retrieval.device_index" in graph["inres.retrieval.plans"]
    cycle = find_cycle(graph)
    assert cycle is None, " -> ".join(cycle or [])


def test_a_cycle_is_found_even_through_type_checking_imports(tmp_path):
    files = {
        "__init__": "",
        "a": "from p import b",
        "b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.c import Name",
        "c": "def f():\n    import p.a",
    }
    (tmp_path / "p").mkdir()
    for name, text in files.items():
        (tmp_path / "p" / f"{name}.py").write_text(text)
    assert find_cycle(module_graph(tmp_path, "p")) == ["p.a", "p.b", "p.c", "p.a"]


@pytest.mark.parametrize("rule", RULES)
def test_forbidden_imports(rule):
    pattern, forbidden = RULES[rule]
    paths = sorted(ROOT.glob(pattern))
    assert paths
    for path in paths:
        for name in imported(path):
            clash = [f for f in forbidden if name == f or name.startswith(f + ".")]
            assert not clash, f"{path.relative_to(ROOT)} imports {name}: {rule}"


@pytest.mark.parametrize("pattern", ONLY)
def test_allowed_imports(pattern):
    paths = sorted(ROOT.glob(pattern))
    assert paths
    for path in paths:
        ours = {name for name in imported(path) if name.split(".")[0] in ("inres", "experiments")}
        for name in ours - {"inres"}:
            assert any(name == o or name.startswith(o + ".") for o in ONLY[pattern]), (path, name)


def test_only_checkpoints_uses_orbax():
    users = [p for p in ROOT.glob("inres/**/*.py") if any("orbax" in n for n in imported(p))]
    assert [p.name for p in users] == ["checkpoints.py"]


def test_every_entry_point_documents_its_command():
    for path in (ROOT / "experiments").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "common.launch(" in text or "def get_config" in text:
            assert "python -m experiments." in (ast.get_docstring(ast.parse(text)) or ""), path
