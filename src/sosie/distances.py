"""Distances between two samples, on independent halves of the test events.

Definitions: "Distances, for any detector" in the manual of the metrics.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sosie.bootstrap import Keys, keyed, significant
from sosie.rocs import roc_statistics

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

FOLDS = 5

# Streams of the generator next to those of the bootstrap, which are 0, 1, ...: splits and replicas
# must not share numbers where they share a seed.
_SPLITS = 1 << 40
_CLASSIFIER = 1 << 41


@dataclass(frozen=True)
class ClassifierResult:
    """auc: 0.5 for equal laws; jsd: 1 - BCE / ln 2, 0 for equal laws; events of a and of b."""

    auc: float
    jsd: float
    events: tuple[int, int]


@dataclass(frozen=True)
class MembersValue:
    """A distance of K members: mean, its statistical error, the spread s (NaN for one member)."""

    value: float
    statistical: float
    systematic: float


def halves(groups: Keys, seed: int, splits: int) -> Mask:
    """Fixed splits (splits, N) of events into half A (True) and half B, whole groups at a time.

    groups: (N,). Both halves have as many groups, A one more where the number is odd. A function
    of the seed and the set of groups alone.
    """
    unique, inverse = np.unique(np.asarray(groups, dtype=np.uint64), return_inverse=True)
    out = np.empty((splits, inverse.size), dtype=np.bool_)
    for split in range(splits):
        rank = _ranks(keyed(seed, unique, _SPLITS + split))
        out[split] = (rank < (unique.size + 1) // 2)[inverse]
    return out


def wasserstein(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    a_weights: npt.ArrayLike | None = None,
    b_weights: npt.ArrayLike | None = None,
) -> float:
    """Wasserstein-1 distance of two samples (n,) and (m,), in their unit.

    Values that are not finite are left out; weights (n,), (m,) may be negative, and then the
    distance is the area between the two cumulative sums. NaN where a sample is empty or its sum of
    weights not positive, or smaller than its own error. Source: scipy.stats.wasserstein_distance, which takes no negative weights.
    """
    x, x_weights = _defined(a, a_weights)
    y, y_weights = _defined(b, b_weights)
    if not all(significant(w.sum(), (w * w).sum()) for w in (x_weights, y_weights)):
        return math.nan
    if x_weights.min() < 0 or y_weights.min() < 0:
        return _area_between(x, x_weights, y, y_weights)
    from scipy import stats  # slow to import, like scikit-learn below, and not needed by all

    return float(stats.wasserstein_distance(x, y, x_weights, y_weights))


def contents(
    values: npt.ArrayLike, edges: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> Floats:
    """Contents (B + 2,) of a histogram of values (n,): below the edges (B + 1,), its bins, above.

    A bin holds its lower edge and not its upper one; values that are not finite are left out.
    """
    x, x_weights = _defined(values, weights)
    limits = np.asarray(edges, dtype=np.float64)
    place = np.searchsorted(limits, x, side="right")
    return np.bincount(place, x_weights, limits.size + 1).astype(np.float64)


def separation(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Separation power 1/2 sum (h1 - h2)^2 / (h1 + h2) of two histograms (B,), from 0 to 1.

    Each is normalised to one; negative contents (of signed weights) count as empty, so that the
    range holds. NaN for a histogram whose sum is not positive.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if not (first.sum() > 0 and second.sum() > 0):
        return math.nan
    first, second = np.maximum(first, 0.0), np.maximum(second, 0.0)
    first, second = first / first.sum(), second / second.sum()
    total = first + second
    filled = total > 0
    return float(0.5 * np.sum((first - second)[filled] ** 2 / total[filled]))


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
    from sklearn.metrics import log_loss, roc_auc_score

    features = np.concatenate([np.asarray(a, np.float64), np.asarray(b, np.float64)])
    n, m = len(np.asarray(a)), len(np.asarray(b))
    fold = np.concatenate([_folds(n, seed, a_groups), _folds(m, seed, b_groups)])
    if any(np.unique(part).size < FOLDS for part in (fold[:n], fold[n:])):
        return ClassifierResult(math.nan, math.nan, (n, m))
    label = np.repeat([0, 1], [n, m])
    if a_weights is not None or b_weights is not None:
        signed = np.concatenate([_class_weights(n, a_weights), _class_weights(m, b_weights)])
        return _weighted_classifier(features, label, signed, fold, seed, (n, m))
    weight = np.repeat([0.5 / n, 0.5 / m], [n, m]) * (n + m)
    calibrated = np.empty(n + m)
    aucs = []
    for test in range(FOLDS):
        tested, held = fold == test, fold == (test + 1) % FOLDS
        train = ~(tested | held)
        score = _fit_trees(features, label, train, held, seed)
        aucs.append(roc_auc_score(label[tested], score[tested]))
        calibrated[tested] = _calibrate(score, label, weight, held)[tested]
    bce = log_loss(label, calibrated, sample_weight=weight)
    return ClassifierResult(float(np.mean(aucs)), float(1 - bce / math.log(2)), (n, m))


def _class_weights(number: int, weights: npt.ArrayLike | None) -> Floats:
    """Weights (n,) of a class, their sum one; NaN where they do not sum to more than their error."""
    w = np.ones(number) if weights is None else np.asarray(weights, dtype=np.float64)
    total, squares = w.sum(), (w * w).sum()
    return np.asarray(w / total if total > 0 and total**2 >= squares else w * np.nan)


def _weighted_classifier(
    features: Floats,
    label: npt.NDArray[np.int64],
    signed: Floats,
    fold: npt.NDArray[np.int64],
    seed: int,
    events: tuple[int, int],
) -> ClassifierResult:
    """The classifier with signed weights (N,), each class of sum one."""
    from sklearn.metrics import log_loss

    if not np.isfinite(signed).all():
        return ClassifierResult(math.nan, math.nan, events)
    none = np.empty((0, len(label)), np.float32)
    flipped = np.where(signed < 0, 1 - label, label)
    weight = np.abs(signed)
    for kind in (0, 1):
        weight[flipped == kind] *= len(label) / 2 / max(weight[flipped == kind].sum(), 1e-300)
    # With weights the trees' own bins take longer than the trees; no bins are made of few values.
    codes = np.column_stack([_codes(column) for column in features.T])
    calibrated, aucs = np.empty(len(label)), []
    for test in range(FOLDS):
        tested, held = fold == test, fold == (test + 1) % FOLDS
        score = _fit_trees(codes, flipped, ~(tested | held), held, seed, weight)
        part = score[tested], label[tested] == 1, signed[tested]
        aucs.append(roc_statistics(*part, none[:, tested])[0, 0])
        calibrated[tested] = _calibrate(score, flipped, weight, held)[tested]
    bce = log_loss(flipped, calibrated, sample_weight=weight)
    return ClassifierResult(float(np.mean(aucs)), float(1 - bce / math.log(2)), events)


def _codes(values: Floats, number: int = 255) -> Floats:
    """Values (n,) as the numbers of equally filled bins, NaN where they are."""
    finite = np.isfinite(values)
    if not finite.any():
        return values
    edges = np.unique(np.quantile(values[finite], np.arange(1, number) / number))
    return np.where(finite, np.searchsorted(edges, values, side="right"), np.nan)


def members_value(values: npt.ArrayLike) -> MembersValue:
    """Mean, statistical and systematic error of a distance (K, J) of K members on J splits.

    statistical: standard deviation over splits of the member mean. systematic: s, from
    s^2 = max(0, var_k(mean_j O_kj) - v), v = K/(K-1) mean_k var_j(O_kj - mean_k O_kj) / J; NaN for
    one member, both NaN for one split. The splits overlap, so v is too small and s too large:
    conservative.
    """
    x = np.asarray(values, dtype=np.float64)
    number, splits = x.shape
    by_split = x.mean(axis=0)
    value = float(x.mean())
    if splits < 2:
        return MembersValue(value, math.nan, math.nan)
    statistical = float(by_split.std(ddof=1))
    if number < 2:
        return MembersValue(value, statistical, math.nan)
    noise = (x - by_split).var(axis=1, ddof=1).mean() / splits * number / (number - 1)
    squared = np.maximum(0.0, x.mean(axis=1).var(ddof=1) - noise)
    return MembersValue(value, statistical, float(np.sqrt(squared)))


def _fit_trees(
    features: Floats,
    label: npt.NDArray[np.int64],
    train: Mask,
    held: Mask,
    seed: int,
    weight: Floats | None = None,
) -> Floats:
    """Scores (N,) of all events by trees grown on train and stopped on held."""
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
        return np.asarray(trees.decision_function(features), dtype=np.float64)


def _calibrate(score: Floats, label: npt.NDArray[np.int64], weight: Floats, held: Mask) -> Floats:
    """Probabilities (N,) of class 1 by isotonic regression on held, each step shrunk.

    A step of n events counts as if it had one event more of each class (Laplace's rule): a bare 0
    or 1 of a short step at the end would cost without bound, and JSD would be far below 0 for
    equal laws (-0.15 instead of -0.01 for 500 events a class, 10 columns).
    """
    from sklearn.isotonic import IsotonicRegression

    isotonic = IsotonicRegression(out_of_bounds="clip")
    fitted = isotonic.fit_transform(score[held], label[held], sample_weight=weight[held])
    level, step = np.unique(fitted, return_inverse=True)
    events = np.bincount(step, weights=weight[held])
    shrunk = np.maximum.accumulate((events * level + 1) / (events + 2))
    isotonic.fit(score[held], shrunk[step])
    return np.asarray(isotonic.predict(score), dtype=np.float64)


def _folds(number: int, seed: int, groups: Keys | None) -> npt.NDArray[np.int64]:
    """Fold (N,) of each event of one class, by group, as equal in groups as possible."""
    keys = np.arange(number, dtype=np.uint64) if groups is None else np.asarray(groups, np.uint64)
    unique, inverse = np.unique(keys, return_inverse=True)
    return (_ranks(keyed(seed, unique, _CLASSIFIER)) % FOLDS)[inverse]


def _ranks(keys: Keys) -> npt.NDArray[np.int64]:
    rank = np.empty(keys.size, dtype=np.int64)
    rank[np.argsort(keys, kind="stable")] = np.arange(keys.size)
    return rank


def _defined(values: npt.ArrayLike, weights: npt.ArrayLike | None) -> tuple[Floats, Floats]:
    x = np.asarray(values, dtype=np.float64)
    w = np.ones(x.size) if weights is None else np.asarray(weights, dtype=np.float64)
    finite = np.isfinite(x)
    return x[finite], w[finite]


def _area_between(a: Floats, a_weights: Floats, b: Floats, b_weights: Floats) -> float:
    """Integral of |F_a - F_b| of two weighted cumulative distributions."""
    values = np.concatenate([a, b])
    steps = np.concatenate([a_weights / a_weights.sum(), -b_weights / b_weights.sum()])
    order = np.argsort(values, kind="stable")
    gap = np.abs(np.cumsum(steps[order])[:-1])
    return float(np.sum(gap * np.diff(values[order])))
