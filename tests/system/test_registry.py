import sys

import pytest

from inres.system.registry import Registry


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two components and a helper; each component registers its file's name."""
    root = tmp_path / "some_components"
    root.mkdir()
    (root / "__init__.py").write_text(
        "from inres.system.registry import Registry\nREGISTRY = Registry('part', __name__)\n"
    )
    for name in ("one", "two"):
        (root / f"{name}.py").write_text(
            "from some_components import REGISTRY\n"
            f"REGISTRY.add('{name}', '{name}!', module=__name__)\n"
        )
    (root / "_helper.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    import some_components

    yield some_components.REGISTRY
    for name in [name for name in sys.modules if name.startswith("some_components")]:
        del sys.modules[name]


def test_components_are_listed_without_importing_them(package: Registry):
    assert package.names() == ("one", "two")
    assert "some_components.one" not in sys.modules
    assert package.get("one") == "one!"
    assert "some_components.two" not in sys.modules


def test_other_modules_add_and_replace_their_own(package: Registry):
    package.add("mine", 1, module="config")
    package.add("mine", 2, module="config")
    assert package.get("mine") == 2
    assert package.names() == ("mine", "one", "two")
    for name in ("one", "mine"):
        with pytest.raises(ValueError, match=f"part '{name}' of other: .* has one of this name"):
            package.add(name, 3, module="other")


def test_a_module_that_registers_another_name_is_named(package: Registry):
    package.get("one")
    package.remove("one")
    with pytest.raises(ValueError, match=r"some_components.one registers no part of its own name"):
        package.get("one")


def test_an_unknown_name_lists_the_known_ones(package: Registry):
    with pytest.raises(ValueError, match="part 'three': must be one of one, two"):
        package.get("three")
