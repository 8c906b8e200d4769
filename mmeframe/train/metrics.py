"""How well a sub-model answers rows that it has not learnt from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["LABELS", "Answers", "answers_of"]

# What each is called in tables.
LABELS: Mapping[str, str] = {"rmse": "RMSE", "accuracy": "accuracy", "log_loss": "log loss", "roc_auc": "ROC AUC"}


@dataclass(frozen=True)
class Answers:
    """A sub-model's answers for some rows, with the true ones.

    classes: of a classifier, else None. chances: of each class, shape (n_rows, classes). score: what ranks the rows of
    a classifier with two classes, shape (n_rows,).
    """

    true: np.ndarray[Any, Any]
    guessed: np.ndarray[Any, Any]
    classes: np.ndarray[Any, Any] | None = None
    chances: np.ndarray[Any, Any] | None = None
    score: np.ndarray[Any, Any] | None = None

    def of(self, rows: np.ndarray[Any, Any]) -> Answers:
        """Those of some rows."""
        chances = None if self.chances is None else self.chances[rows]
        score = None if self.score is None else self.score[rows]
        return Answers(self.true[rows], self.guessed[rows], self.classes, chances, score)

    def metrics(self) -> dict[str, float]:
        """Root mean squared error of numbers; of classes accuracy, log loss, and the area under ROC of two."""
        if not len(self.true):
            return {}
        if self.classes is None:
            numbers = self.true.dtype.kind in "iuf" and self.guessed.dtype.kind in "iuf"
            return {"rmse": float(np.sqrt(np.mean((self.true - self.guessed) ** 2)))} if numbers else {}
        found = {"accuracy": float(np.mean(self.true == self.guessed))}
        if self.chances is not None:
            found["log_loss"] = self._log_loss(self.classes, self.chances)
        positive = self.true == self.classes[-1]
        if self.score is not None and 0 < positive.sum() < len(positive):
            from sklearn.metrics import roc_auc_score

            found["roc_auc"] = float(roc_auc_score(positive, self.score))
        return found

    def _log_loss(self, classes: np.ndarray[Any, Any], chances: np.ndarray[Any, Any]) -> float:
        """As scikit-learn's, which refuses rows of a class that the sub-model has not seen: their chance is 0."""
        import pandas as pd

        place = pd.Index(classes).get_indexer(pd.Index(self.true))
        chance = np.where(place >= 0, chances[np.arange(len(place)), place], 0.0)
        return float(0.0 - np.mean(np.log(np.clip(chance, np.finfo(np.float64).eps, 1.0))))


def answers_of(model: Any, features: Any, true: Any) -> Answers:
    """Ask a fitted estimator."""
    from sklearn.base import is_classifier

    truth, guessed = np.asarray(true), np.asarray(model.predict(features))
    if not is_classifier(model):
        return Answers(truth, guessed)
    chances = np.asarray(model.predict_proba(features)) if hasattr(model, "predict_proba") else None
    score = None
    if len(model.classes_) == 2:
        ranks = model.decision_function if hasattr(model, "decision_function") else None
        score = chances[:, 1] if chances is not None else None if ranks is None else np.asarray(ranks(features))
    return Answers(truth, guessed, np.asarray(model.classes_), chances, score)
