"""Keeps the state with the best validation score, and decides when to stop early."""

from pathlib import Path
from typing import Any

from inres.learning.checkpoints import Checkpoints
from inres.system import files, together


class Best:
    """Keeps the state with the highest score under `root`; the earlier one on ties.

    The record is on disk, so resumed training keeps the same state and stops at the same step.

    Attributes:
      step, score: of the kept state; 0 and minus infinity before there is one.
      evaluated: step of the last evaluation.
    """

    def __init__(self, root: Path, measure: str, *, patience: int = 0) -> None:
        """`measure` names the score; `patience` is in steps, 0: never stop early."""
        self.measure, self.patience = measure, patience
        self._checkpoints = Checkpoints(root, keep=1)
        self._record = Path(root) / "best.json"
        found = together.agreed(files.read_object(self._record) if self._record.is_file() else {})
        self.step: int = found.get("step", 0)
        self.score: float = found.get("score", float("-inf"))
        # Older records lack this; evaluations after the best one may then be repeated.
        self.evaluated: int = found.get("looked", self.step)

    def update(self, step: int, scores: dict[str, float], state: Any) -> None:
        """Keep `state` if its score is higher than all before.

        The record is written after the state, so an evaluation interrupted between the two does not
        count.
        """
        score = scores[self.measure]
        if score > self.score:
            # Training resumed from before the best step, on a machine with different rounding,
            # reaches other weights at that step; the kept ones must be those that were evaluated.
            self._checkpoints.drop_from(step)
            self._checkpoints.save(step, state)
            self._checkpoints.wait()
            self.step, self.score = step, score
        self.evaluated = step
        # As long as the score is NaN, there is nothing to record.
        if self.step and together.leads():
            record = {"step": self.step, "score": self.score, "looked": step, "of": self.measure}
            files.write_json(self._record, record)

    def exhausted(self, step: int) -> bool:
        """Whether the best score is too long ago at the evaluation after `step`."""
        return bool(self.patience) and step - self.step >= self.patience

    def close(self) -> None:
        """Finish and release."""
        self._checkpoints.close()
