"""Commands, fields and links of the documents are those that there are."""

import importlib
import re
import shlex
import sys
from pathlib import Path
from string import Template

import pytest
from absl import flags
from ml_collections import config_flags

from inres import config as config_lib
from inres.config import Config
from inres.studies import ablation

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "experiments/README.md",
    "experiments/TRIALS.md",
    "inres/retrieval/README.md",
)


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def commands() -> list[list[str]]:
    """Every command of ours in the documents' code blocks, module first, variables put in."""
    found = []
    for document in DOCUMENTS:
        for block in re.findall(r"```bash\n(.*?)```", text_of(document), re.DOTALL):
            variables = {"seed": "0"} | dict(re.findall(r'^(\w+)="(.*)"$', block, re.MULTILINE))
            for line in Template(block).substitute(variables).splitlines():
                words = shlex.split(line)
                if "-m" in words and words[words.index("-m") + 1].startswith("experiments."):
                    found.append(words[words.index("-m") + 1 :])
    return found


def test_the_documents_have_commands():
    modules = {module for module, *_ in commands()}
    assert {"experiments.reproduce", "experiments.search", "experiments.compare"} <= modules
    for module in modules:
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file()


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_a_command_sets_fields_that_there_are(command, monkeypatch):
    module = command[0]
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", command)  # where ml_collections looks for fields
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", flag_values=values)
    # The fields must be there and of their types; the other flags are the module's own.
    rest = values(command, known_only=True)
    source = (ROOT / module.replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8")
    source += text_of("experiments/common.py")
    for argument in rest[1:]:
        if name := re.match(r"--([\w.]+)", argument):
            assert f'"{name[1]}"' in source, argument
    if isinstance(config.value, Config):
        config_lib.checked(config.value)
    if isinstance(config.value, ablation.Ablation):
        ablation.checked(config.value)


def test_every_field_named_is_one():
    names = (path.stem for path in (ROOT / "experiments" / "configs").glob("[a-z]*.py"))
    configs = [importlib.import_module(f"experiments.configs.{n}").get_config() for n in names]
    named = {
        name
        for document in DOCUMENTS
        for name in re.findall(r"--config\.([\w.]*\w)", text_of(document))
    }
    assert len(named) > 20

    def has(config: object, name: str) -> bool:
        for part in name.split("."):
            config = getattr(config, part, None)
        return config is not None

    assert not [name for name in named if not any(has(config, name) for config in configs)]


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
