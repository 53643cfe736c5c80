"""A toy detector of signed vectors whose law is known: two numbers, tied below a threshold."""

from pathlib import Path
from typing import Any

import numpy as np

from samples import write_table
from sosie import preprocess
from sosie.detectors.base import Detector, Quantity, Ties
from sosie.surrogates.base import Origin
from sosie.transforms import read_transform

SOFT, HARD = 2.0, 5.0
LAYOUT: dict[str, Any] = {
    "tree": "toy", "rntuple": False, "response": {"branch": "r", "unit": ""}, "conditions": {},
    "identity": [],
}  # fmt: skip


def find(response: np.ndarray) -> np.ndarray:
    equal = response[:, 1] == response[:, 2]
    return equal.astype(np.int64) + (equal & (response[:, 1] == 0))


def impose(response: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    tied = response.copy()
    tied[pattern == 1, 2] = tied[pattern == 1, 1]
    tied[pattern == 2, 1:] = 0
    return tied


def variable(conditions: np.ndarray) -> dict[str, np.ndarray]:
    return {"p": conditions[:, 0], "type": conditions[:, 1]}


TOY = Detector(
    name="toy",
    shape=(3,),
    unit="",
    axes=(Quantity("number"),),
    centres=(np.arange(3.0),),
    conditions={"p": "GeV", "type": ""},
    feature_names=("p", "is_b"),
    features=lambda c: np.column_stack([c[:, 0], np.abs(c[:, 1]) == 2]).astype(np.float64),
    scale=lambda c: np.ones(len(c)),
    variables={"p": Quantity("p", "GeV"), "type": Quantity("type")},
    variable=variable,
    observables={f"r{k}": Quantity(f"$r_{k}$") for k in range(3)},
    observe=lambda r, c: {f"r{k}": r[:, k].astype(np.float64) for k in range(3)},
    calibrate=lambda pieces: {},
    results={},
    reconstruct=lambda r, c, k: {},
    signed=True,
    ties=Ties(("free", "equal", "zero"), "p", find, impose),
)


def conditions(count: int, seed: int = 1) -> np.ndarray:
    """Conditions (N, 2): p uniform in 0-10, type -2, 1 or 2."""
    rng = np.random.default_rng([seed, 1])
    return np.column_stack([rng.uniform(0, 10, count), rng.choice([1, 2, -2], count)]).astype(
        np.float32
    )


def pattern(where: np.ndarray) -> np.ndarray:
    return np.where(where[:, 0] < SOFT, 2, np.where(where[:, 0] < HARD, 1, 0))


def means(where: np.ndarray) -> np.ndarray:
    """The means (N, 3) of the numbers, but for the ties."""
    sign = np.where(np.abs(where[:, 1]) == 2, 1.0, -1.0)
    return np.stack([sign * where[:, 0], 0.5 * where[:, 0], -where[:, 0]], axis=1)


def responses(where: np.ndarray, seed: int = 1) -> np.ndarray:
    """Gaussians of width 1, r0 and r1 correlated by 0.8, with ties by p."""
    rng = np.random.default_rng([seed, 2])
    noise = rng.standard_normal((len(where), 3))
    noise[:, 1] = 0.8 * noise[:, 0] + 0.6 * noise[:, 1]
    return impose((means(where) + noise).astype(np.float32), pattern(where))


def table(path: Path, where: np.ndarray, response: np.ndarray, **other: Any) -> str:
    return write_table(
        path, response, where, threshold=0.0, layout=LAYOUT, detector=TOY, aux={}, **other
    )


def fitted(folder: Path, train: str, transform: str = "quantile") -> str:
    """The path of the transform of a sample."""
    out = str(folder / "transform.json")
    preprocess.run(train, out, seed=1, transform=transform, per_cell=False, gap=0.5)
    return out


def origin(path: str) -> Origin:
    return Origin("toy", 0.0, LAYOUT, read_transform(path), {})
