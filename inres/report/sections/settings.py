"""Settings of the run, and the environment in which it ran."""

from inres.evaluation import runs
from inres.report import page
from inres.report.run import Run
from inres.report.sections import SECTIONS, Section


def section(run: Run) -> str:
    """Config, environment and evaluated files, as recorded."""
    parts = [
        page.details(title, page.pairs(values))
        for title, values in (
            ("Config", run.config),
            ("Environment", run.environment),
            ("Preparation", run.json("prepare/meta.json")),
            ("What was evaluated", run.json(f"evaluation/{runs.JUDGED}")),
        )
        if values
    ]
    return "".join(parts) or "<p>Neither config nor environment was recorded.</p>"


SECTIONS.add("settings", Section("Settings", 80, section), module=__name__)
