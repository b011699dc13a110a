"""Parts of the search command that need no archive."""

import numpy as np

from experiments import search
from inres.config import Config, Search
from inres.data import items
from inres.retrieval import index


def test_nodules_of_unknown_scans_are_told_apart_by_their_patients():
    table = [items.Item("", "", "n1", 1, patient=patient) for patient in "aab"]
    table += [items.Item("", "", "", 0), items.Item("", "", "", 0)]
    names = items.nodule_names(table)
    units = [
        search._unit({"item": row, "scan": "", "nodule": item.nodule}, "nodule", names)
        for row, item in enumerate(table)
    ]
    assert units[0] == units[1]
    assert len(set(units)) == 4


def test_what_is_said_of_an_empty_result_is_so():
    nothing = index.Result(*(np.zeros((1, 0)) for _ in range(3)), np.array([0]), np.array([3]))
    config = Config(search=Search(rank="hamming", where="label = 99"))
    said = search._verdict(config, nothing, own=-1)
    assert said == "no item where label = 99 is left to be found"
    assert (
        search._verdict(config, nothing, own=4) == f"{said} (the query's own scan is not searched)"
    )
