"""Hand-made samples: showers of a known law, event tables of them, and a surrogate without a network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sosie.detectors.base import Detector
from sosie.detectors.ecal import DETECTOR
from sosie.detectors.ecal_cells import CENTRES, DEPTH, momentum
from sosie.events import Block, write_events
from sosie.preprocess import domain_of
from sosie.surrogates.base import Origin, Surrogate
from sosie.transforms import FeatureScaling, ResponseTransform, Transform

LAYOUT: dict[str, Any] = {
    "tree": "ecal",
    "rntuple": False,
    "response": {"branch": "energy", "unit": "MeV"},
    "conditions": {
        **{name: {"expression": name, "unit": "GeV"} for name in ("px", "py", "pz")},
        **{name: {"expression": name, "unit": "cm"} for name in ("x", "y", "z")},
        "pdg": {"expression": "pdg", "unit": ""},
    },
    "identity": ["seed", "event_id"],
}
MEV_PER_GEV = 180.0


def conditions(
    count: int, seed: int = 1, low: float = 5.0, high: float = 50.0
) -> np.ndarray[Any, Any]:
    """Conditions (N, 7) of electrons, |p| log-uniform between low and high GeV."""
    rng = np.random.default_rng([seed, 1])
    tangent = rng.normal(0, 0.1, (count, 2)).clip(-0.3, 0.3)
    pz = np.exp(rng.uniform(np.log(low), np.log(high), count)) / np.hypot(1, tangent).prod(axis=1)
    place = rng.uniform(-10, 10, (count, 2))
    rest = np.tile([-100.0, 11.0], (count, 1))
    return np.column_stack([tangent * pz[:, None], pz, place, rest]).astype(np.float32)


def blobs(
    total: np.ndarray[Any, Any], where: np.ndarray[Any, Any], width: float = 18.0
) -> np.ndarray[Any, Any]:
    """Round showers (N, 30, 30) of total energy (N,) in MeV about the impact points of conditions."""
    impact = where[:, 3:5] + DEPTH * where[:, :2] / where[:, 2:3]
    x, y = np.exp(-((CENTRES - impact.T[..., None]) ** 2) / (2 * width**2))
    shape = x[:, :, None] * y[:, None, :]
    shape /= shape.sum(axis=(1, 2), keepdims=True)
    return (shape * total[:, None, None]).astype(np.float32)


def showers(
    where: np.ndarray[Any, Any], seed: int = 1, smear: float = 0.05
) -> np.ndarray[Any, Any]:
    """Blobs of 180 MeV per GeV, the energy smeared by ``smear`` and each cell by 20 %."""
    rng = np.random.default_rng([seed, 2])
    total = MEV_PER_GEV * momentum(where) * rng.normal(1, smear, len(where))
    rough = blobs(total, where) * rng.gamma(25, 1 / 25, (len(where), 30, 30))
    rough *= (total / rough.sum(axis=(1, 2)))[:, None, None]
    return np.where(rough > 1e-6, rough, 0).astype(np.float32)


def write_table(
    path: str | Path,
    response: np.ndarray[Any, Any],
    where: np.ndarray[Any, Any],
    *,
    ids: np.ndarray[Any, Any] | None = None,
    groups: np.ndarray[Any, Any] | None = None,
    weight: np.ndarray[Any, Any] | None = None,
    aux: Mapping[str, np.ndarray[Any, Any]] | None = None,
    threshold: float = 0.2,
    layout: Mapping[str, Any] = LAYOUT,
    detector: Detector = DETECTOR,
) -> str:
    """An event table of the calorimeter; event k has the number k + 1 where ``ids`` are not given."""
    number = np.arange(1, len(where) + 1) if ids is None else ids
    carried = {"seed": np.full(len(where), 7), "event_id": number} if aux is None else aux
    attributes = {"threshold": threshold, "layout": layout, "provenance": {}}
    with write_events(path, detector, attributes) as writer:
        writer.append(
            Block(response, where, number, number if groups is None else groups, weight, carried)
        )
    return str(path)


def origin(where: np.ndarray[Any, Any], layout: Mapping[str, Any] = LAYOUT, **other: Any) -> Origin:
    """The origin of a surrogate trained on these conditions (N, 7)."""
    plain = where.astype(np.float64)
    transform = Transform(
        ResponseTransform(np.asarray(0.0), 0.2, 1e5, 1.0),
        FeatureScaling.fit(DETECTOR.feature_names, DETECTOR.features(plain)),
        domain_of(DETECTOR, plain),
    )
    return Origin(
        **{
            "detector": "ecal",
            "threshold": 0.2,
            "layout": layout,
            "transform": transform,
            "provenance": {},
            **other,
        }
    )


class Noisy(Surrogate):
    """Blobs whose energy is drawn for each event, with cells below the threshold."""

    kind: ClassVar[str] = "noisy"

    def sample(
        self, conditions: np.ndarray[Any, Any], rng: np.random.Generator
    ) -> np.ndarray[Any, Any]:
        total = MEV_PER_GEV * momentum(conditions) * (1 + 0.1 * rng.random(len(conditions)))
        return blobs(total, conditions.astype(np.float64))

    def members(self, count: int) -> list["Noisy"]:
        return [self]

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        return {}

    @classmethod
    def from_arrays(
        cls, origin: Origin, settings: Mapping[str, Any], arrays: Mapping[str, Any]
    ) -> "Noisy":
        return cls(origin, settings)


def whole_events(figure: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of compare that take an event as a whole, all like this one, but for the trees."""
    return {
        **{f"classifier_{name}": {"auc": figure, "jsd": figure} for name in ("mlp", "low")},
        **dict.fromkeys(("fpd", "kpd"), figure),
        "manifold": dict.fromkeys(("precision", "recall", "density", "coverage"), figure),
        "memorisation": dict.fromkeys(("copies", "auc"), figure),
    }
