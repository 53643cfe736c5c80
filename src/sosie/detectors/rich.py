"""Ring-imaging Cherenkov detector: log-likelihood differences of five hypotheses to the pion."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from sosie.detectors.base import Array, Detector, Quantity, Roc, Ties
from sosie.errors import InputError
from sosie.progress import warn

DLLS = ("e", "mu", "k", "p", "bt")
"""The hypotheses in the order of the response: bt is below the threshold of every particle."""
TYPES = {"e": 11, "mu": 13, "pi": 211, "k": 321, "p": 2212}
"""PDG code of each type of particle, without its charge."""
WORDS = {"e": "electrons", "mu": "muons", "pi": "pions", "k": "kaons", "p": "protons"}
SYMBOLS = {"e": "e", "mu": r"\mu", "pi": r"\pi", "k": "K", "p": "p", "bt": r"\mathrm{bt}"}
E, MU, K, P, BT = range(len(DLLS))
SOFT = 20.0
"""Scale of the products: the spread of a DLL over all tracks is 7 to 22."""


def species(conditions: Array) -> Array:
    """Index into TYPES of each particle (N,), -1 for one that is not there; conditions (N, 4)."""
    code = np.abs(np.asarray(conditions, dtype=np.float64)[:, 3])
    found = np.full(len(code), -1)
    for index, pdg in enumerate(TYPES.values()):
        found[code == pdg] = index
    return found


def is_type(conditions: Array, name: str) -> Array:
    """Whether each particle (N,) is of a type of TYPES, of either charge."""
    here: Array = species(conditions) == list(TYPES).index(name)
    return here


def features(conditions: Array) -> Array:
    """Inputs of a network (N, 8): log p, eta, occupancy, and 0 or 1 for each type of particle.

    conditions (N, 4): p in GeV, eta, SPD hits, PDG code. NaN: log p where p is not positive, all
    types of a code that is not in TYPES.
    """
    p, eta, spd, _ = np.asarray(conditions, dtype=np.float64).T
    log_p = np.log(p, out=np.full(len(p), np.nan), where=p > 0)
    index = species(conditions)
    types = (index[:, None] == np.arange(len(TYPES))).astype(np.float64)
    types[index < 0] = np.nan
    return np.column_stack([log_p, eta, spd, types])


VARIABLES = {
    "momentum": Quantity("$p$", "GeV"),
    "eta": Quantity(r"$\eta$"),
    "spd": Quantity(r"$n_\mathrm{SPD}$", words="hits in the scintillating-pad detector"),
    "type": Quantity(
        "type: " + ", ".join(f"{k} ${SYMBOLS[name]}$" for k, name in enumerate(TYPES)),
        words="type of particle",
    ),
}


def variable(conditions: Array) -> dict[str, Array]:
    """The variables for binning, each (N,): momentum in GeV, pseudorapidity, occupancy, type.

    The type is the index into TYPES, NaN for a code that is not there.
    """
    p, eta, spd, _ = np.asarray(conditions, dtype=np.float64).T
    index = species(conditions)
    kind = np.where(index < 0, np.nan, index)
    return dict(zip(VARIABLES, (p, eta, spd, kind), strict=True))


def constant_scale(conditions: Array) -> Array:
    """Ones (N,): a likelihood does not scale with the momentum."""
    return np.ones(len(conditions))


def _dll(name: str) -> str:
    return rf"\mathrm{{DLL}}_{{{SYMBOLS[name]}}}"


def equal(response: Array) -> dict[str, Array]:
    """What is exactly equal or exactly zero in responses (N, 5), by observable (N,) of booleans.

    They are nested: each of them implies those before it.
    """
    p_bt = response[:, P] == response[:, BT]
    k_p = p_bt & (response[:, K] == response[:, P])
    zero = k_p & (response[:, K] == 0)
    return {
        "tie_p_bt": p_bt,
        "tie_k_p_bt": k_p,
        "tie_zero": zero,
        "tie_zero_mu": zero & (response[:, MU] == 0),
    }


def find(response: Array) -> Array:
    """The pattern (N,) of each response (N, 5): the number of nested ties that hold, 0 to 4."""
    pattern: Array = np.stack(list(equal(response).values())).sum(axis=0, dtype=np.int64)
    return pattern


def impose(response: Array, pattern: Array) -> Array:
    """Responses (N, 5) with all the ties of their pattern (N,): the first of equal numbers is kept.

    What is equal beyond its pattern remains so. Responses in which the pattern holds are
    returned bit by bit.
    """
    tied = response.copy()
    for number, kept in ((1, P), (2, K)):
        rows = pattern == number
        tied[rows, kept:] = response[rows, kept, None]
    tied[pattern >= 3, K:] = 0
    tied[pattern == 4, MU] = 0
    return tied


PRODUCTS = {f"product_{a}_{b}": (a, b) for a, b in combinations(DLLS, 2)}
OBSERVABLES = {
    **{f"dll_{name}": Quantity(f"${_dll(name)}$") for name in DLLS},
    "tie_p_bt": Quantity(f"share of ${_dll('p')} = {_dll('bt')}$"),
    "tie_k_p_bt": Quantity(f"share of ${_dll('k')} = {_dll('p')} = {_dll('bt')}$"),
    "tie_zero": Quantity(f"share of ${_dll('k')} = {_dll('p')} = {_dll('bt')} = 0$"),
    "tie_zero_mu": Quantity(
        f"share of ${_dll('mu')} = {_dll('k')} = {_dll('p')} = {_dll('bt')} = 0$"
    ),
    **{
        name: Quantity(
            rf"$t_{{{SYMBOLS[a]}}} \, t_{{{SYMBOLS[b]}}}$",
            words=f"product of tanh(DLL / {SOFT:g}) of {a} and {b}",
        )
        for name, (a, b) in PRODUCTS.items()
    },
}


def observe(response: Array, conditions: Array) -> dict[str, Array]:
    """The observables of each track, (N,) each: the DLLs, their ties as 0 or 1, their products.

    response (N, 5). The mean of a tie is its rate. The mean of a product of t = tanh(DLL / 20) is
    their second moment about 0, where a hypothesis is as likely as the pion: it lies between
    -1 and 1, a spike or a single large DLL cannot carry it, and an atom at 0 adds nothing to it.
    Source: METRICS, section RICH.
    """
    dll = np.asarray(response, dtype=np.float64)
    soft = dict(zip(DLLS, np.tanh(dll / SOFT).T, strict=True))
    return {
        **{f"dll_{name}": column for name, column in zip(DLLS, dll.T, strict=True)},
        **{name: tie.astype(np.float64) for name, tie in equal(response).items()},
        **{name: soft[a] * soft[b] for name, (a, b) in PRODUCTS.items()},
    }


CUTS = {"dllk0": (K, 0.0), "dllk5": (K, 5.0), "dllp0": (P, 0.0), "dllmu0": (MU, 0.0)}
RATES = {
    f"{'eff' if DLLS[column] == name else 'mis'}_{name}_{cut}": (name, cut)
    for cut, (column, _) in CUTS.items()
    for name in dict.fromkeys([DLLS[column], "pi", *{K: ["p"], P: ["k"]}.get(column, [])])
}
"""Particle and cut of each efficiency and mis-identification."""


def _rate(name: str, cut: str) -> Quantity:
    column, value = CUTS[cut]
    to = DLLS[column]
    words = f"{WORDS[name]} found" if name == to else f"{WORDS[name]} taken for {WORDS[to]}"
    arrow = rf"{SYMBOLS[name]} \to {SYMBOLS[to]}"
    return Quantity(
        rf"$P({arrow})$, ${_dll(to)} > {value:g}$", words=f"{words}, DLL{to} > {value:g}"
    )


def calibrate(pieces: Iterable[tuple[Array, Array]]) -> dict[str, Any]:
    """The tracks of each type in the training split; there is nothing to fit.

    pieces: response (N, 5) and conditions (N, 4) each. A type without tracks is warned of: its
    rates and curves are empty. InputError where no track is of a known type.
    """
    tracks = np.zeros(len(TYPES), np.int64)
    other: set[int] = set()
    for _, conditions in pieces:
        index = species(conditions)
        tracks += np.bincount(index[index >= 0], minlength=len(TYPES))
        other |= set(conditions[index < 0, 3].astype(int).tolist())
    codes = ", ".join(str(code) for code in TYPES.values())
    if not tracks.any():
        raise InputError(
            f"rich: no track has a PDG code of {codes}, but {sorted(other)[:5]}; "
            "check ingest.conditions.pdg"
        )
    if absent := [name for name, number in zip(TYPES, tracks, strict=True) if not number]:
        warn(
            "reconstruct",
            f"rich: no tracks of type {', '.join(absent)} in the training sample; "
            "check ingest.selection if they are meant to be there",
        )
    return {"tracks": dict(zip(TYPES, tracks.tolist(), strict=True))}


def reconstruct(
    response: Array, conditions: Array, calibration: dict[str, Any]
) -> dict[str, Array]:
    """What a cut makes of each track: 1 if it passes, 0 if not, NaN for another type of particle.

    response (N, 5), conditions (N, 4); (N,) each, by name of RATES. Source: METRICS, section RICH.
    """
    values = {}
    for rate, (name, cut) in RATES.items():
        column, value = CUTS[cut]
        values[rate] = np.where(is_type(conditions, name), response[:, column] > value, np.nan)
    return values


def _dll_of(column: int) -> Callable[[Array], Array]:
    def score(response: Array) -> Array:
        return response[:, column]

    return score


def _roc(name: str) -> Roc:
    return Roc(
        axis=Quantity(rf"${SYMBOLS[name]}$ against $\pi$", words=f"{WORDS[name]} against pions"),
        signal=partial(is_type, name=name),
        background=partial(is_type, name="pi"),
        score=_dll_of(DLLS.index(name)),
    )


LIMITS: Mapping[str, tuple[float, float]] = {
    "momentum": (0.1, 1000.0),
    "eta": (1.0, 6.0),
    "spd": (0.0, 5000.0),
}

DETECTOR = Detector(
    name="rich",
    shape=(len(DLLS),),
    unit="",
    axes=(Quantity("hypothesis: " + ", ".join(f"{k} ${SYMBOLS[n]}$" for k, n in enumerate(DLLS))),),
    centres=(np.arange(len(DLLS), dtype=np.float64),),
    conditions={"momentum": "GeV", "eta": "", "spd": "", "pdg": ""},
    feature_names=("log_p", "eta", "spd", *(f"is_{name}" for name in TYPES)),
    features=features,
    scale=constant_scale,
    variables=VARIABLES,
    variable=variable,
    observables=OBSERVABLES,
    observe=observe,
    calibrate=calibrate,
    results={},
    reconstruct=reconstruct,
    minor=tuple(PRODUCTS),
    signed=True,
    limits=LIMITS,
    ties=Ties(
        patterns=(
            "no tie",
            "DLLp = DLLbt",
            "DLLk = DLLp = DLLbt",
            "DLLk = DLLp = DLLbt = 0",
            "DLLmu = DLLk = DLLp = DLLbt = 0",
        ),
        variable="momentum",
        find=find,
        impose=impose,
    ),
    rates={rate: _rate(*how) for rate, how in RATES.items()},
    rocs={f"{name}_pi": _roc(name) for name in ("k", "mu", "p")},
    roc_grid=("momentum", "eta"),
)
