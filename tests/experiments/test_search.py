"""Parts of the search command that need no archive."""

import subprocess
import sys

from cli import ROOT

PROGRAM = """
import numpy as np
from experiments import search
from inres.config import Config, Search
from inres.data import items
from inres.retrieval.search import Result

# Nodules of unknown scans are told apart by their patients.
table = [items.Item("", "", "n1", 1, patient=patient) for patient in "aab"]
table += [items.Item("", "", "", 0), items.Item("", "", "", 0)]
names = items.nodule_names(table)
records = [{"item": row, "scan": "", "nodule": item.nodule} for row, item in enumerate(table)]
units = [search._unit(record, "nodule", names) for record in records]
assert units[0] == units[1]
assert len(set(units)) == 4

# What is said of an empty result is so.
nothing = Result(*(np.zeros((1, 0)) for _ in range(3)), np.array([0]), np.array([3]))
config = Config(search=Search(rank="hamming", where="label = 99"))
said = search._verdict(config, nothing, own=-1)
assert said == "no item where label = 99 is left to be found", said
own = search._verdict(config, nothing, own=4)
assert own == f"{said} (the query's own scan is not searched)", own
"""


def test_what_is_one_nodule_and_what_is_said_of_nothing():
    """In a process of its own: commands define flags of the same names."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
