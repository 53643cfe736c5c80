"""Classifier test with a dense network, on observables or on the response itself.

Definitions: "Distances, for any detector" in the manual of the metrics.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sosie.bootstrap import Keys
from sosie.classifiers import Classes, ClassifierResult, auc_of, calibrated, classes_of, jsd_of
from sosie.distances import Floats, Mask

Array = np.ndarray[Any, Any]
Singles = npt.NDArray[np.float32]

TESTED, HELD = 0, 1
"""Folds of the test, and of the stopping and the calibration; the other three are for training."""

FAINT = 1e-3
"""Share of the sum of a response below which a cell looks nearly empty to the network."""

WIDTH, DEPTH, LEAK = 128, 2, 0.1
EPOCHS, PATIENCE, BATCH, STEPS = 20, 5, 512, 12
RATE, DECAY, RISE = 6e-3, 1.0, 0.3
FARTHEST = 5.0


def cell_inputs(response: Array, signed: bool) -> Singles:
    """The response (N, *shape) in numbers (N, D) in which leading and faint cells both count.

    The logarithm of each cell's share of the sum, plus FAINT, and the logarithm of the sum, NaN for
    an empty response; the numbers as they are where they have either sign.
    """
    flat = np.asarray(response, np.float32).reshape(len(response), -1)
    if signed:
        return flat
    total = flat.sum(axis=1, dtype=np.float64)[:, None]
    filled = total > 0
    share = flat / np.where(filled, total, 1.0).astype(np.float32)
    out = np.empty((len(flat), flat.shape[1] + 1), np.float32)
    np.log(share + np.float32(FAINT), out=out[:, :-1])
    out[:, -1:] = np.where(filled, np.log(np.where(filled, total, 1.0)), np.nan)
    return out


def mlp_auc(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    seed: int,
    a_groups: Keys | None = None,
    b_groups: Keys | None = None,
    a_weights: npt.ArrayLike | None = None,
    b_weights: npt.ArrayLike | None = None,
) -> ClassifierResult:
    """How well a network of two hidden layers tells a (n, D) from b (m, D); NaN is a missing value.

    Groups, weights of either sign and what is not defined are as in `classifiers.classifier_auc`,
    but there is one split: three folds train, one stops and calibrates, one is tested. One thread:
    the same numbers every time.
    """
    features = np.concatenate([np.asarray(a, np.float32), np.asarray(b, np.float32)])
    n, m = len(np.asarray(a)), len(np.asarray(b))
    classes = classes_of(n, m, seed, a_groups, b_groups, a_weights, b_weights)
    if classes is None:
        return ClassifierResult(math.nan, math.nan, (n, m))
    tested, held = classes.fold == TESTED, classes.fold == HELD
    train = ~(tested | held)
    score = _scores(_standardised(features, train), classes, train, held, seed)
    probability = calibrated(score, classes, held)
    return ClassifierResult(
        auc_of(score, classes, tested), jsd_of(probability, classes, tested), (n, m)
    )


def _standardised(features: Singles, train: Mask) -> Singles:
    """Features (N, D) by mean and standard deviation of the training part, cut at FARTHEST.

    A value that is missing is 0, and for each column with such a one stands a further column of 0
    and 1.
    """
    known = np.isfinite(features)
    whole = known.all(axis=0)
    x = features if whole.all() else np.where(known, features, np.float32(0))
    count = np.maximum(known[train].sum(axis=0), 1)
    mean = x[train].sum(axis=0, dtype=np.float64) / count
    x = x - mean.astype(np.float32)
    x[~known] = 0
    deviation = np.sqrt(np.square(x[train]).sum(axis=0, dtype=np.float64) / count)
    # What does not vary but by rounding tells nothing.
    varies = deviation > 1e-6 * np.abs(mean)
    x *= np.where(varies, 1 / np.where(varies, deviation, 1.0), 0.0).astype(np.float32)
    np.clip(x, -FARTHEST, FARTHEST, out=x)
    return x if whole.all() else np.hstack([x, known[:, ~whole].astype(np.float32)])


@contextmanager
def _alone(seed: int) -> Iterator[None]:
    """One thread and random numbers of our own, with those of others as they were."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _network(inputs: int) -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    for size in (inputs, *[WIDTH] * (DEPTH - 1)):
        layers += [torch.nn.Linear(size, WIDTH), torch.nn.LeakyReLU(LEAK)]
    return torch.nn.Sequential(*layers, torch.nn.Linear(WIDTH, 1), torch.nn.Flatten(0))


@dataclass(frozen=True)
class _Part:
    """Some events: inputs (n, D), targets (n,) and weights (n,)."""

    x: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor

    def loss(self, network: torch.nn.Module, rows: Any = slice(None)) -> torch.Tensor:
        """The weighted cross entropy, over the events."""
        return torch.nn.functional.binary_cross_entropy_with_logits(
            network(self.x[rows]), self.target[rows], self.weight[rows]
        )


def _scores(features: Singles, classes: Classes, train: Mask, held: Mask, seed: int) -> Floats:
    """Scores (N,) of all events by a network trained on train and stopped on held."""

    def part(chosen: Mask) -> _Part:
        columns = (features, classes.target, classes.weight)
        return _Part(*(torch.from_numpy(c[chosen].astype(np.float32)) for c in columns))

    with _alone(seed % 2**63):
        network = _network(features.shape[1])
        _train(network, part(train), part(held))
        with torch.no_grad():
            return np.asarray(network(torch.from_numpy(features)).numpy(), dtype=np.float64)


def _train(network: torch.nn.Module, train: _Part, held: _Part) -> None:
    """Train in place; the weights of the epoch with the smallest loss on held are kept."""
    batch = min(BATCH, max(len(train.x) // STEPS, 2))
    steps = len(train.x) // batch
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    least, kept, best = math.inf, network.state_dict(), 0
    for epoch in range(EPOCHS):
        order = torch.randperm(len(train.x))
        for step in range(steps):
            done = (epoch + (step + 1) / steps) / EPOCHS
            for group in optimiser.param_groups:
                group["lr"] = RATE * min(done / RISE, (1 - done) / (1 - RISE))
            optimiser.zero_grad()
            train.loss(network, order[step * batch : (step + 1) * batch]).backward()
            optimiser.step()
        with torch.no_grad():
            loss = float(held.loss(network))
        if loss < least:
            least, best = loss, epoch
            kept = {name: value.clone() for name, value in network.state_dict().items()}
        elif epoch - best >= PATIENCE:
            break
    network.load_state_dict(kept)
