"""Classifier tests: how well boosted trees tell two samples apart, and what all classifiers share.

Definitions: "Distances, for any detector" in the manual of the metrics.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sosie.bootstrap import Keys, keyed
from sosie.distances import Floats, Mask, ranks
from sosie.rocs import roc_statistics

Labels = npt.NDArray[np.int64]

FOLDS = 5

# Next to the streams of distances.py.
_CLASSIFIER = 1 << 41


@dataclass(frozen=True)
class ClassifierResult:
    """auc: 0.5 for equal laws; jsd: 1 - BCE / ln 2, 0 for equal laws; events of a and of b."""

    auc: float
    jsd: float
    events: tuple[int, int]


def classifier_auc(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    seed: int,
    a_groups: Keys | None = None,
    b_groups: Keys | None = None,
    a_weights: npt.ArrayLike | None = None,
    b_weights: npt.ArrayLike | None = None,
) -> ClassifierResult:
    """How well boosted trees tell a (n, D) from b (m, D); NaN is a missing value.

    Five folds by group (an event where no groups are given): train on three, stop and calibrate on
    the fourth, test on the fifth, so that every event is tested once. auc: mean over folds, of the
    uncalibrated scores; jsd: from the isotonically calibrated probabilities of all events. The
    classes weigh the same whatever their sizes. One thread: the same numbers every time. NaN where
    a class has fewer than 5 groups.

    Weights (n,), (m,) may be negative. No tree can be grown on those, so an event of negative weight
    is put into the other class with its absolute weight, for training, calibration and jsd: where
    the laws are equal so are these classes, and the denser law has the larger score. The auc is that
    of the signed weights. NaN where the weights of a class do not sum to more than their own error.
    """
    features = np.concatenate([np.asarray(a, np.float64), np.asarray(b, np.float64)])
    n, m = len(np.asarray(a)), len(np.asarray(b))
    classes = classes_of(n, m, seed, a_groups, b_groups, a_weights, b_weights)
    if classes is None:
        return ClassifierResult(math.nan, math.nan, (n, m))
    weighted = a_weights is not None or b_weights is not None
    if weighted:
        # With weights the trees' own bins take longer than the trees; no bins are made of few values.
        features = np.column_stack([_codes(column) for column in features.T])
    probability, aucs = np.empty(n + m), []
    for test in range(FOLDS):
        tested, held = classes.fold == test, classes.fold == (test + 1) % FOLDS
        fitted = classes.weight if weighted else None
        score = _fit_trees(features, classes.target, ~(tested | held), held, seed, fitted)
        aucs.append(auc_of(score, classes, tested))
        probability[tested] = calibrated(score, classes, held)[tested]
    jsd = jsd_of(probability, classes, np.ones(n + m, np.bool_))
    return ClassifierResult(float(np.mean(aucs)), jsd, (n, m))


@dataclass(frozen=True)
class Classes:
    """What a classifier learns from, N events.

    label (N,): 0 for a, 1 for b. signed (N,): weights of sum one in each class. target (N,): the
    label, the other one for an event of negative weight. weight (N,): absolute weights, of the same
    sum for both targets. fold (N,), from 0 to 4.
    """

    label: Labels
    signed: Floats
    target: Labels
    weight: Floats
    fold: Labels


def classes_of(
    n: int,
    m: int,
    seed: int,
    a_groups: Keys | None = None,
    b_groups: Keys | None = None,
    a_weights: npt.ArrayLike | None = None,
    b_weights: npt.ArrayLike | None = None,
) -> Classes | None:
    """The classes of n events of a and m of b.

    None where a class has fewer than 5 groups, or weights that sum to no more than their error.
    """
    folds = _folds(n, seed, a_groups), _folds(m, seed, b_groups)
    if any(np.unique(part).size < FOLDS for part in folds):
        return None
    signed = np.concatenate([_class_weights(n, a_weights), _class_weights(m, b_weights)])
    if not np.isfinite(signed).all():
        return None
    label = np.repeat([0, 1], [n, m])
    target, weight = np.where(signed < 0, 1 - label, label), np.abs(signed)
    for kind in (0, 1):
        weight[target == kind] *= (n + m) / 2 / max(weight[target == kind].sum(), 1e-300)
    return Classes(label, signed, target, weight, np.concatenate(folds))


def auc_of(score: Floats, classes: Classes, tested: Mask) -> float:
    """Area under the curve of scores (N,), with the signed weights of the tested events."""
    none = np.empty((0, int(tested.sum())), np.float32)
    part = score[tested], classes.label[tested] == 1, classes.signed[tested]
    return float(roc_statistics(*part, none)[0, 0])


def jsd_of(probability: Floats, classes: Classes, tested: Mask) -> float:
    """1 - BCE / ln 2 of the probabilities (N,) of target 1, of the tested events."""
    from sklearn.metrics import log_loss

    bce = log_loss(
        classes.target[tested],
        probability[tested],
        sample_weight=classes.weight[tested],
        labels=[0, 1],
    )
    return float(1 - bce / math.log(2))


def _class_weights(number: int, weights: npt.ArrayLike | None) -> Floats:
    """Weights (n,) of a class, their sum one; NaN where they do not sum to more than their error."""
    w = np.ones(number) if weights is None else np.asarray(weights, dtype=np.float64)
    total, squares = w.sum(), (w * w).sum()
    return np.asarray(w / total if total > 0 and total**2 >= squares else w * np.nan)


def _codes(values: Floats, number: int = 255) -> Floats:
    """Values (n,) as the numbers of equally filled bins, NaN where they are."""
    finite = np.isfinite(values)
    if not finite.any():
        return values
    edges = np.unique(np.quantile(values[finite], np.arange(1, number) / number))
    return np.where(finite, np.searchsorted(edges, values, side="right"), np.nan)


def _fit_trees(
    features: Floats,
    label: Labels,
    train: Mask,
    held: Mask,
    seed: int,
    weight: Floats | None = None,
) -> Floats:
    """Scores (N,) by trees grown on train and stopped on held; NaN for those of train."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    trees = HistGradientBoostingClassifier(
        learning_rate=0.1,
        max_iter=200,
        max_leaf_nodes=15,
        min_samples_leaf=20,
        l2_regularization=1.0,
        early_stopping=True,
        n_iter_no_change=10,
        random_state=seed % 2**32,
    )
    with threadpool_limits(limits=1, user_api="openmp"):
        trees.fit(
            features[train],
            label[train],
            sample_weight=None if weight is None else weight[train],
            X_val=features[held],
            y_val=label[held],
            sample_weight_val=None if weight is None else weight[held],
        )
        scores = np.full(len(label), np.nan)
        scores[~train] = trees.decision_function(features[~train])
        return scores


def calibrated(score: Floats, classes: Classes, held: Mask) -> Floats:
    """Probabilities (N,) of target 1 by isotonic regression on held, each step shrunk; NaN for no score.

    A step of n events counts as if it had one event more of each class (Laplace's rule): a bare 0
    or 1 of a short step at the end would cost without bound, and JSD would be far below 0 for
    equal laws (-0.15 instead of -0.01 for 500 events a class, 10 columns).
    """
    from sklearn.isotonic import IsotonicRegression

    weight = classes.weight
    isotonic = IsotonicRegression(out_of_bounds="clip")
    fitted = isotonic.fit_transform(score[held], classes.target[held], sample_weight=weight[held])
    level, step = np.unique(fitted, return_inverse=True)
    events = np.bincount(step, weights=weight[held])
    shrunk = np.maximum.accumulate((events * level + 1) / (events + 2))
    isotonic.fit(score[held], shrunk[step])
    scored = np.isfinite(score)
    out = np.full(len(score), np.nan)
    out[scored] = isotonic.predict(score[scored])
    return out


def _folds(number: int, seed: int, groups: Keys | None) -> Labels:
    """Fold (N,) of each event of one class, by group, as equal in groups as possible."""
    keys = np.arange(number, dtype=np.uint64) if groups is None else np.asarray(groups, np.uint64)
    unique, inverse = np.unique(keys, return_inverse=True)
    return (ranks(keyed(seed, unique, _CLASSIFIER)) % FOLDS)[inverse]
