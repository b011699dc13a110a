"""Who may call whom, read from the imports."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What a room must not import: (files, forbidden modules).
RULES = {
    "nothing climbs to experiments": ("inres/**/*.py", ("experiments",)),
    "flags live in experiments": ("inres/**/*.py", ("absl", "ml_collections")),
    "ct knows no jax": ("inres/ct/*.py", ("jax", "flax", "inres.data", "inres.models")),
    "evaluation knows no jax": ("inres/evaluation/*.py", ("jax", "flax", "inres.retrieval")),
    "models know nothing of ours": (
        "inres/models/*.py",
        ("inres.config", "inres.data", "inres.ct", "inres.training", "inres.losses"),
    ),
    "losses know nothing of ours": ("inres/*losses.py", ("inres",)),
    "codebooks know arrays alone": ("inres/codebooks.py", ("inres", "jax", "flax")),
    "training knows no data and no model": (
        "inres/training.py",
        ("inres.data", "inres.models", "inres.config", "inres.recipe"),
    ),
    "retrieval knows arrays alone": (
        "inres/retrieval/*.py",
        ("inres.config", "inres.data", "inres.models", "inres.training", "inres.evaluation"),
    ),
    "figures know arrays alone": (
        "inres/figures/*.py",
        ("inres.config", "inres.data", "inres.evaluation", "inres.report", "jax"),
    ),
    "data below models": ("inres/data/*.py", ("inres.models", "inres.training", "inres.retrieval")),
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("rule", RULES)
def test_no_import_climbs(rule):
    pattern, forbidden = RULES[rule]
    paths = sorted(ROOT.glob(pattern))
    assert paths
    for path in paths:
        for name in imported(path):
            clash = [f for f in forbidden if name == f or name.startswith(f + ".")]
            assert not clash, f"{path.relative_to(ROOT)} imports {name}: {rule}"


def test_orbax_has_one_room():
    users = [p for p in ROOT.glob("inres/**/*.py") if any("orbax" in n for n in imported(p))]
    assert [p.name for p in users] == ["checkpoints.py"]


def test_every_entry_point_tells_its_command():
    for path in (ROOT / "experiments").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "common.launch(" in text or "def get_config" in text:
            assert "python -m experiments." in (ast.get_docstring(ast.parse(text)) or ""), path
