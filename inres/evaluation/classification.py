"""Scores of the classifier (softmax of FC3) on the queries."""

import dataclasses
from typing import Any

import numpy as np

from inres.evaluation import metrics
from inres.evaluation.distances import log_softmax


@dataclasses.dataclass(frozen=True)
class Classification:
    """Result of `classify` for N items."""

    scores: dict[str, Any]
    """`accuracy`, `macro_recall` and `per_class`, a list; None for a class without items."""
    confusion: np.ndarray
    """int64 [classes, classes]: items by true class (row) and predicted class (column)."""
    correct: np.ndarray
    """bool [N]: the predicted class is the true one."""


def classify(logits: np.ndarray, labels: np.ndarray, classes: int) -> Classification:
    """Predict the class with the largest logit, and score the predictions.

    Args:
      logits: float [N, C], FC3.
      labels: int [N].
      classes: number of classes.
    """
    predicted = logits.argmax(axis=1)
    known = np.minimum(predicted, classes - 1)
    counts = np.bincount(labels * classes + known, minlength=classes**2)
    confusion = counts.reshape(classes, classes)
    return Classification(_scores(logits, labels, confusion), confusion, predicted == labels)


def _scores(logits: np.ndarray, labels: np.ndarray, confusion: np.ndarray) -> dict[str, Any]:
    """`Classification.scores`, with the average precision of each class against the rest."""
    log_shares = log_softmax(logits)
    relevance = np.arange(log_shares.shape[1])[:, None] == labels
    hits = metrics.find(metrics.rank(-log_shares.T), relevance)
    precisions = metrics.average_precision(hits)
    per_class = []
    for label, row in enumerate(confusion):
        right, support, named = int(row[label]), int(row.sum()), int(confusion[:, label].sum())
        per_class.append(
            {
                "class": label,
                "support": support,
                "recall": right / support if support else None,
                "precision": right / named if named else None,
                "f1": 2 * right / (support + named) if support else None,
                "average_precision": float(precisions[label]) if support else None,
            }
        )
    recalls = [row["recall"] for row in per_class if row["recall"] is not None]
    return {
        "accuracy": float(np.trace(confusion) / confusion.sum()),
        "macro_recall": float(np.mean(recalls)),
        "per_class": per_class,
    }
