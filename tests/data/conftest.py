"""A LUNA16 tree of small chests, and the stores made of it."""

import pytest
from ct.trees import write_tree
from data.chests import EXCLUDED, SCANS, config_of_labels, make_config, run


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    return write_tree(root, SCANS, excluded=EXCLUDED, masks=True)


@pytest.fixture(scope="session")
def store(tree, tmp_path_factory):
    return run(make_config(tree), tree, tmp_path_factory.mktemp("out") / "items")


@pytest.fixture(scope="session")
def labelled_store(tree, tmp_path_factory):
    return run(config_of_labels(tree), tree, tmp_path_factory.mktemp("out") / "labelled")
