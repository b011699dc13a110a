"""The printed summary of a run."""

import pytest

from inres.pipeline import run
from inres.system import files
from inres.vocabulary import CLASS_NAMES


@pytest.fixture
def workdir(tmp_path):
    ranking = {"map_macro": 0.5, "precision_at_10_macro": 0.25}
    names = ("two_stage", "hamming", "pixels", "chance")
    metrics = {
        "rankings": dict.fromkeys(names, ranking),
        "classification": {"accuracy": 0.75},
        "paper": {"search_precision": 0.625},
        "pool": {"mean_size": 4.0},
    }
    files.write_json(tmp_path / "evaluation" / "metrics.json", metrics)
    leaks = {
        "items": {"test": 3},
        "test_items_of_shared": {"scans": 0, "patients": 0, "twins": 0},
        "nodule_share": 0.0,
        "left_out": 0,
    }
    files.write_json(tmp_path / "split" / "leaks.json", leaks)
    return tmp_path


@pytest.mark.parametrize("names", [CLASS_NAMES, ("no nodule", "nodule")])
def test_the_paper_s_score_is_shown_next_to_its_own_classes_only(workdir, names):
    files.write_json(workdir / "evaluation" / "curves.json", {"class_names": list(names)})
    line = next(ln for ln in run.summary(workdir).splitlines() if "mean search precision" in ln)
    assert "0.625" in line
    paper = "(paper, on LUNA16 and a leaking split: 0.73)"
    assert line.endswith(paper) == (names == CLASS_NAMES)
    assert ("paper" in line) == (names == CLASS_NAMES)
