"""The best state that a validation part has seen, and when to stop waiting for a better one."""

from pathlib import Path
from typing import Any

from inres.learning.checkpoints import Checkpoints
from inres.system import files


class Best:
    """Keeps, under `root`, the state whose score is highest; ties go to the earlier one.

    What it knows is on disk: after an interruption, training that goes on keeps the same state and
    stops at the same step.

    Attributes:
      step, score: of the state that is kept; 0 and minus infinity before there is one.
      looked: the step of the last look.
    """

    def __init__(self, root: Path, measure: str, *, patience: int = 0) -> None:
        """`patience`: steps without a better score after which to stop; 0 never."""
        self.measure, self.patience = measure, patience
        self._checkpoints = Checkpoints(root, keep=1)
        self._record = Path(root) / "best.json"
        found = files.read_json(self._record) if self._record.is_file() else {}
        self.step: int = found.get("step", 0)
        self.score: float = found.get("score", float("-inf"))
        # Older records lack it; the looks after the best that they forgot may come again.
        self.looked: int = found.get("looked", self.step)

    def look(self, step: int, scores: dict[str, float], state: Any) -> None:
        """Keep `state` if `scores` has more of the measure than any before.

        The record is written after the state: cut off between the two, the look is not on record.
        """
        score = scores[self.measure]
        if score > self.score:
            # Resumed from before the best, on a machine that rounds otherwise, training comes to
            # other weights at its step and beyond; what is kept must be those that were looked at.
            self._checkpoints.drop_from(step)
            self._checkpoints.save(step, state)
            self._checkpoints.wait()
            self.step, self.score = step, score
        self.looked = step
        if self.step:  # a measure that was NaN so far has no score to write
            record = {"step": self.step, "score": self.score, "looked": step, "of": self.measure}
            files.write_json(self._record, record)

    def exhausted(self, step: int) -> bool:
        """Whether, at the look of `step`, a better score has been waited for long enough."""
        return bool(self.patience) and step - self.step >= self.patience

    def close(self) -> None:
        """Finish and release."""
        self._checkpoints.close()
