"""Scores of the classifier (softmax of FC3) on the queries."""

from typing import Any

import numpy as np

from inres.evaluation import metrics
from inres.evaluation.distances import log_softmax


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Items by true class (row) and predicted class (column), int64 [classes, classes]."""
    known = np.minimum(predicted, classes - 1)
    return np.bincount(truth * classes + known, minlength=classes**2).reshape(classes, classes)


def scores(logits: np.ndarray, labels: np.ndarray, matrix: np.ndarray) -> dict[str, Any]:
    """Accuracy, macro recall and the scores of each class; None for a class without items.

    Args:
      logits: float [N, C], FC3.
      labels: int [N].
      matrix: from `confusion`.
    """
    log_shares = log_softmax(logits)
    relevance = np.arange(log_shares.shape[1])[:, None] == labels
    hits = metrics.find(metrics.rank(-log_shares.T), relevance)
    precisions = metrics.average_precision(hits)
    per_class = []
    for label, row in enumerate(matrix):
        right, support, named = int(row[label]), int(row.sum()), int(matrix[:, label].sum())
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
        "accuracy": float(np.trace(matrix) / matrix.sum()),
        "macro_recall": float(np.mean(recalls)),
        "per_class": per_class,
    }
