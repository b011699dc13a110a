"""Checks that the documents match the program: commands, fields, links, examples and size."""

import ast
import importlib
import re
import shlex
import sys
from pathlib import Path
from string import Template

import pytest
from absl import flags
from documents import DOCUMENTS, ROOT, blocks, marked_block, text_of
from ml_collections import config_flags

from inres import config as config_lib
from inres import sources, vocabulary
from inres.config import Config
from inres.learning import losses
from inres.studies import ablation

README_BYTES = 10_240
CURRENT = tuple(sorted({*DOCUMENTS} - {"CHANGELOG.md"}))
"""Documents of the present program; the changelog also names fields of earlier versions."""
CONFIGS = ROOT / "experiments" / "configs"
SECTIONS = tuple(config_lib.to_dict(Config()))
FILES = (".csv", ".json", ".md", ".npz", ".py")
"""Endings by which a dotted name is a file and not a field."""


def source_of(module: str) -> Path:
    """File of a module that is run with `python -m`."""
    path = ROOT / module.replace(".", "/")
    return path / "__main__.py" if path.is_dir() else path.with_suffix(".py")


def commands_in(text: str) -> list[list[str]]:
    """Commands of `experiments` in shell text, starting with the module, variables substituted."""
    variables = {"seed": "0"} | dict(re.findall(r'^(\w+)="(.*)"$', text, re.MULTILINE))
    found = []
    for line in Template(text).safe_substitute(variables).replace("\\\n", " ").splitlines():
        if "python -m experiments." in line:
            found.append(shlex.split(line.split("python -m ")[-1]))
    return found


def commands() -> list[list[str]]:
    """Every command in shell blocks of documents and docstrings of `experiments`, once each."""
    texts = [block for document in DOCUMENTS for block in blocks(document, "bash")]
    for path in sorted((ROOT / "experiments").rglob("*.py")):
        texts.append(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")
    found = [command for text in texts for command in commands_in(text)]
    return [list(command) for command in dict.fromkeys(map(tuple, found))]


def field(config: object, name: str) -> object:
    """Value of a dotted field name; None where the config has no such field."""
    for part in name.split("."):
        config = getattr(config, part, None)
    return config


def test_the_documents_have_commands():
    modules = {module for module, *_ in commands()}
    assert {"experiments.reproduce", "experiments.search", "experiments.compare"} <= modules
    for module in modules:
        assert source_of(module).is_file()


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_a_command_parses(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", command)  # ml_collections looks for fields there
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", flag_values=values)
    # Fields must exist and have the right type; other flags are defined by the module.
    rest = values(command, known_only=True)
    source = source_of(command[0]).read_text(encoding="utf-8")
    source += text_of("experiments/common.py")
    for argument in rest[1:]:
        if name := re.match(r"--([\w.]+)", argument):
            assert f'"{name[1]}"' in source, argument
    if isinstance(config.value, Config):
        config_lib.checked(config.value)
    if isinstance(config.value, ablation.Ablation):
        ablation.checked(config.value)


def test_every_field_flag_exists():
    names = (path.stem for path in CONFIGS.glob("[a-z]*.py"))
    configs = [importlib.import_module(f"experiments.configs.{n}").get_config() for n in names]
    named = {
        name
        for document in CURRENT
        for name in re.findall(r"--config\.([\w.]*\w)", text_of(document))
    }
    assert len(named) > 20
    assert not [n for n in named if all(field(config, n) is None for config in configs)]


@pytest.mark.parametrize("document", CURRENT)
def test_every_field_in_the_text_exists(document):
    """Fields are written as `hash.bits` or `config.hash.bits`."""
    names = re.findall(r"`(?:config\.)?([a-z]\w*(?:\.\w+)+)(?:=[^`]*)?`", text_of(document))
    named = [n for n in names if n.split(".")[0] in SECTIONS and not n.endswith(FILES)]
    assert not [name for name in named if field(Config(), name) is None]


def test_every_ranking_and_number_is_explained():
    text = text_of("inres/evaluation/README.md")
    keys = [mean.key.format(k=10) for _, mean in vocabulary.means()]
    names = [key for key in keys if not key.endswith(("_worst", "_best"))]
    assert not [n for n in (*vocabulary.ranking_names(), *names) if f"`{n}`" not in text]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (ROOT / document).parent / path if path else ROOT / document
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor in slugs, target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_named_in_code_style_exist(document):
    """Paths that begin with a folder of the repository, as in `inres/config.py`."""
    named = re.findall(r"`((?:inres|experiments|tests)/[\w./]*)`", text_of(document))
    assert not [path for path in named if not (ROOT / path).exists()]


def test_the_readme_is_short():
    assert (ROOT / "README.md").stat().st_size <= README_BYTES


@pytest.mark.parametrize("document", DOCUMENTS)
def test_python_examples_compile(document):
    for number, block in enumerate(blocks(document, "python")):
        compile(block, f"{document}, block {number}", "exec")


def test_the_example_of_an_index_runs():
    names: dict = {}
    exec(marked_block("inres/retrieval/README.md", "builds an index", "python"), names)
    bits, found = names["bits"], names["found"]
    assert found.ids.shape == (3, 10)
    assert [row[0] for row in found.ids.tolist()] == [0, 1, 2]  # an item is nearest to itself
    distance = (bits[:3, None] != bits[None]).sum(axis=2)
    assert found.pool_size.tolist() == (distance < 12).sum(axis=1).tolist()


def test_the_example_of_a_loss_registers_it():
    try:
        exec(
            marked_block(".github/CONTRIBUTING.md", "example of a loss", "python"),
            {"__name__": "x"},
        )
        config = config_lib.from_dict({"loss": {"name": "mine"}})
        assert config.loss.settings.mine.weight == 0.1
    finally:
        losses.REGISTRY.remove("mine")


def test_the_example_of_a_source_registers_it(tmp_path):
    try:
        program = marked_block("inres/data/README.md", "example of a source", "python")
        exec(program, {"__name__": "x"})
        data = config_lib.Data(kind="mine", root=str(tmp_path))
        (scan,) = sources.get("mine").read(tmp_path, data, iter).scans
        assert scan.path == tmp_path / "p1.nii.gz"
    finally:
        sources._REGISTRY.remove("mine")
