"""Shared by all tests: a study, and small ntuples of the native layout."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import uproot
import yaml

from sosie.progress import warn
from tiny import snakemake

pytest_plugins = ["matrix"]

ROOT = Path(__file__).parents[1]
CENTRES = (np.arange(30) - 14.5) * 20.0


@pytest.fixture(autouse=True)
def _warnings_are_said_again() -> None:
    """A warning is given once a process, and a test is to see its own."""
    warn.cache_clear()


@pytest.fixture(autouse=True)
def _random_numbers_are_the_same_in_any_order() -> None:
    """What draws without a generator of its own does so alike, whichever tests ran before."""
    torch.manual_seed(1)


def electrons(count: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Branches of ``count`` plausible showers: round blobs of about 177 MeV per GeV, in ntuple units."""
    rng = np.random.default_rng(seed)
    pz = rng.uniform(5, 50, count)
    tangent = rng.normal(0, 0.1, (2, count)).clip(-0.3, 0.3)
    place = rng.uniform(-0.5, 0.5, (2, count))
    centre = 10 * place + 127 * tangent
    x, y = np.exp(-((CENTRES - centre[..., None]) ** 2) / (2 * 18.0**2))
    blob = x[:, :, None] * y[:, None, :] * rng.gamma(20, 1 / 20, (count, 30, 30))
    total = 177 * pz * np.sqrt(1 + (tangent**2).sum(axis=0)) * rng.normal(1, 0.03, count)
    energy = blob / blob.sum(axis=(1, 2), keepdims=True) * total[:, None, None]
    energy[energy < 1e-3] = 0
    return {
        "energy": energy.astype(np.float32),
        "px": (pz * tangent[0]).astype(np.float32),
        "py": (pz * tangent[1]).astype(np.float32),
        "pz": pz.astype(np.float32),
        "x": place[0].astype(np.float32),
        "y": place[1].astype(np.float32),
        "z": np.zeros(count, np.float32),
        "pdg": np.full(count, 11, np.int32),
        "event_id": np.arange(count, dtype=np.int64),
        "seed": np.full(count, seed, np.int64),
    }


def write_root(
    path: Path, columns: Mapping[str, Any], tree: str = "ecal", rntuple: bool = False
) -> Path:
    """Columns as a TTree, in baskets of 100 entries, or as an RNTuple."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with uproot.recreate(path) as file:
        if rntuple:
            file.mkrntuple(tree, dict(columns))
            return path
        plain = {name: column for name, column in columns.items() if hasattr(column, "dtype")}
        kinds = {name: (column.dtype, column.shape[1:]) for name, column in plain.items()}
        table = file.mktree(tree, {**dict.fromkeys(columns, "var * float32"), **kinds})
        count = len(next(iter(columns.values())))
        for start in range(0, count, 100):
            table.extend({name: column[start : start + 100] for name, column in columns.items()})
    return path


@pytest.fixture
def ntuple(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes an ntuple below ``tmp_path``; branches by name replace its own, None drops one."""

    def write(
        name: str = "showers.root",
        count: int = 120,
        seed: int = 1,
        tree: str = "ecal",
        rntuple: bool = False,
        **branches: Any,
    ) -> Path:
        columns = {**electrons(count, seed), **branches}
        columns = {key: column for key, column in columns.items() if column is not None}
        return write_root(tmp_path / name, columns, tree, rntuple)

    return write


@pytest.fixture
def study() -> dict[str, Any]:
    """The default study, as read from YAML."""
    return yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def done(tmp_path_factory) -> Path:
    """A folder in which the tiny study ran to its end, undisturbed."""
    folder = tmp_path_factory.mktemp("tiny study")
    snakemake(folder, "all")
    return folder
