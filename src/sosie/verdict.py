"""The verdict: what the figures of compare mean, in words."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sosie.detectors.base import Quantity

NOT_ESTIMATED = "not estimated"
GRADES = (
    (0.55, "can hardly be told from full simulation"),
    (0.65, "is told from full simulation with difficulty"),
    (0.80, "is told from full simulation in many events"),
    (0.95, "is told from full simulation in most events"),
    (1.01, "is told from full simulation in nearly every event"),
)
INDICATIVE = 2000
NETWORKS = {
    "classifier_mlp": "A network on the observables",
    "classifier_low": "one on the response itself",
}


def words_of(name: str, quantity: Quantity) -> str:
    """A quantity in plain words: its own, or its name."""
    return quantity.words or name.replace("_", " ")


def title_of(name: str, quantity: Quantity) -> str:
    """The same at the beginning of a sentence."""
    words = words_of(name, quantity)
    return words[:1].upper() + words[1:]


def decimals(value: float | None) -> int:
    """Decimals that show three digits of a value, three at the least."""
    return 3 if not value else max(3, 2 - math.floor(math.log10(abs(value))))


def show(figure: Mapping[str, Any], digits: int = 3) -> str:
    """A figure with its errors, as '0.712 ± 0.010 (stat.) ± 0.020 (syst.)'.

    A systematic error of exactly 0 is a spread that statistical fluctuation alone explains.
    """
    if not isinstance(figure["value"], float):
        return "not defined"
    text = f"{figure['value']:.{digits}f} ± {figure['statistical'] or 0:.{digits}f} (stat.)"
    if figure["systematic"] == 0:
        return f"{text}, syst. unresolved"
    if isinstance(figure["systematic"], float):
        return f"{text} ± {figure['systematic']:.{digits}f} (syst.)"
    return f"{text}, syst. not estimated" if figure["systematic"] else text


def error_of(figure: Mapping[str, Any]) -> float:
    """Statistical and systematic error of a figure, in quadrature, as far as there are any."""
    parts = [figure["statistical"], figure["systematic"]]
    return math.hypot(*[part for part in parts if isinstance(part, float)])


def _worst(
    entry: Mapping[str, Any], quantities: Mapping[str, Quantity], count: int = 3
) -> list[str]:
    """The quantities whose W1 exceeds the floor most, in words."""
    ratio = {
        name: figure["value"] / entry["floor"]["wasserstein"][name]["value"]
        for name, figure in entry["figures"]["wasserstein"].items()
        if figure["value"] is not None and entry["floor"]["wasserstein"][name]["value"]
    }
    worst = sorted(ratio, key=lambda name: -ratio[name])[:count]
    return [
        f"{words_of(name, quantities[name])} ({ratio[name]:.1f} times)"
        for name in worst
        if ratio[name] > 1.5
    ]


def farthest(figures: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Name of the figure that is largest against its limit and errors; None where none is defined."""
    known = [name for name, figure in figures.items() if isinstance(figure["value"], float)]

    def share(name: str) -> float:
        limit = figures[name].get("limit", 0.0) + 2 * error_of(figures[name])
        return float(figures[name]["value"]) / limit if limit else math.inf

    return max(known, key=share) if known else None


def _kept(figure: Mapping[str, Any]) -> bool:
    return bool(figure["value"] <= figure["limit"] + 2 * error_of(figure))


def _width(figure: Mapping[str, Any]) -> str:
    off = figure["value"] - 1
    if abs(off) < 2 * error_of(figure):
        return "agrees with full simulation"
    if off >= 1:
        return f"is {figure['value']:,.1f} times as wide as in full simulation"
    return f"is {abs(off):.0%} {'wider' if off > 0 else 'narrower'} than in full simulation"


def _roc_sentence(what: str, figure: Mapping[str, Any]) -> str:
    if not isinstance(figure["value"], float):
        return f"The AUC of {what} is not defined: no cell has enough events of both classes."
    off = {**figure, "value": figure["difference"]}
    words = f"within {figure['limit']:g} and twice its error"
    agrees = f"agrees with full simulation in every cell, {words}"
    return (
        f"The AUC of {what} {agrees if _kept(figure) else f'is not {words}'}; farthest in "
        f"{figure['where']}: generated less simulated {show(off, 4)}."
    )


def _rate_sentences(entry: Mapping[str, Any], quantities: Mapping[str, Quantity]) -> list[str]:
    figures = entry["figures"].get("rates", {})
    name = farthest(figures)
    if name is None:
        none = "No rate of full simulation lies between 5 and 95 % anywhere: no ratio is judged."
        return [none] if figures else []
    known = [figure for figure in figures.values() if isinstance(figure["value"], float)]
    good = sum(map(_kept, known))
    ratio = {**figures[name], "value": 1 + figures[name]["difference"]}
    return [
        f"Of {len(known)} efficiencies and mis-identifications between 5 and 95 %, {good} agree with full "
        f"simulation in every bin, within {known[0]['limit']:.0%} and twice their error; farthest is {words_of(name, quantities[name])} at "
        f"{figures[name]['where']}: ratio {show(ratio, 3)}."
    ]


def _pseudo_chi2_sentences(entry: Mapping[str, Any]) -> list[str]:
    if "pseudo_chi2" not in entry["figures"]:
        return []
    value, floor = (entry[part]["pseudo_chi2"]["all"] for part in ("figures", "floor"))
    if not (value["value"] and floor["value"]):
        return ["The pseudo chi2 is not defined: there are too few events in a bin."]
    return [
        f"The pseudo chi2 of its moments is {value['value'] / floor['value']:.1f} times the floor "
        f"({value['value']:.0f} against {floor['value']:.0f}, {min(value['events'])} rows a side)."
    ]


def _fair(found: Mapping[str, Any]) -> bool:
    """Whether the coverage is not too low by more than two of its errors."""
    off = found["coverage"] - found["expected_coverage"]
    return bool(off > -2 * (found["coverage_error"] or 0.0))


def _trusted(words: str, found: Mapping[str, Any], scale: Mapping[str, Any]) -> str:
    raw, after = found["raw"], found["calibrated"]
    if not (raw["bins"] and isinstance(after["coverage"], float)):
        return f"There are too few bins of the {words} to calibrate its errors."
    if scale["status"] == "fitted":
        spread = (
            f"{after['coverage']:.0%} ± {100 * after['coverage_error']:.0f} % once the spread is scaled by "
            f"{scale['value']:.2f} ± {scale['error']:.2f}"
        )
    else:
        spread = {
            "hidden": "which stays as it is, since statistical errors hide it",
            "short": "which no scale mends, since the members agree in too many bins in which they are off",
        }[scale["status"]]
    return (
        f"Of {raw['bins']} bins of the {words}, {raw['coverage']:.0%} lie within one error of full simulation as the "
        f"members spread, {spread} ({after['expected_coverage']:.0%} if the errors are right): "
        + (
            "the errors are fair."
            if _fair(after)
            else "the surrogate is off by more than its errors say."
        )
    )


def sentences(entry: Mapping[str, Any], quantities: Mapping[str, Quantity]) -> list[str]:
    """What is to be said of one surrogate, a sentence each; ``quantities`` are all that it was compared in."""
    auc, floor = (entry[part]["classifier"]["auc"] for part in ("figures", "floor"))
    others = {name: entry["figures"][name]["auc"] for name in NETWORKS}
    largest = max(figure["value"] or 1.0 for figure in (auc, *others.values()))
    grade = next(words for limit, words in GRADES if largest < limit)
    count = min(auc["events"])
    said = [
        f"It {grade}: a classifier on the observables reaches an AUC of {show(auc)}; two samples of "
        f"full simulation give {floor['value'] or math.nan:.3f} ± {floor['statistical'] or math.nan:.3f}. "
        + ", ".join(f"{NETWORKS[name]} reaches {show(figure)}" for name, figure in others.items())
        + "."
        + (f" With {count} events a class this is indicative." if count < INDICATIVE else "")
    ]
    resolutions = {
        **entry["figures"]["resolution"],
        **entry["figures"].get("group_resolution", {}),
    }
    for name, figure in resolutions.items():
        what = words_of(name, quantities[name])
        if not isinstance(figure["value"], float):
            said.append(f"The {what} resolution is not defined: too few events are reconstructed.")
            continue
        said.append(f"The {what} resolution {_width(figure)}: ratio {show(figure, 2)}.")
    said += [
        _roc_sentence(words_of(name, quantities[name]), figure)
        for name, figure in entry["figures"].get("rocs", {}).items()
    ]
    said += _rate_sentences(entry, quantities)
    said += _pseudo_chi2_sentences(entry)
    if worst := _worst(entry, quantities):
        said.append(
            f"Farthest from full simulation, in multiples of the floor: {', '.join(worst)}."
        )
    else:
        said.append("Nothing is farther from full simulation than 1.5 times the floor.")
    for step, words in (
        ("moments", "moments"),
        (
            "reconstruct",
            "reconstructed bias and resolution" if entry["figures"]["resolution"] else "rates",
        ),
    ):
        found = entry["calibration"][step]
        raw = found["raw"]
        if raw["coverage"] is None:
            continue
        if entry["trust"]:
            said.append(_trusted(words, found, entry["trust"]["scale"][step]))
            continue
        said.append(
            f"Of {raw['bins']} bins of the {words}, {raw['coverage']:.0%} lie within one statistical error of full "
            f"simulation ({raw['expected_coverage']:.0%} if that were all) and {raw['beyond_3']:.0%} beyond three: "
            + (
                "the errors are fair."
                if _fair(raw)
                else "the surrogate is off by more than its errors say."
            )
        )
    if entry["members"] == 1:
        said.append("It has no ensemble, so its systematic error is not estimated.")
    return said


def gates_in_words(gates: Sequence[Mapping[str, Any]]) -> str:
    """How many quality gates failed, and for which surrogates; empty where there are none."""
    if not gates:
        return ""
    failed = [result["surrogate"] for result in gates if not result["passed"]]
    if not failed:
        return f"All {len(gates)} quality gates passed."
    each = [f"{failed.count(name)} of {name}" for name in dict.fromkeys(failed)]
    return f"{len(failed)} of {len(gates)} quality gates failed ({', '.join(each)})."


def headline(entries: Sequence[Mapping[str, Any]], gates: Sequence[Mapping[str, Any]] = ()) -> str:
    """In two sentences: which surrogate is nearest, whether that is near, and the quality gates."""
    return f"{_nearest(entries)} {gates_in_words(gates)}".strip()


def _nearest(entries: Sequence[Mapping[str, Any]]) -> str:
    known = [e for e in entries if isinstance(e["figures"]["classifier"]["auc"]["value"], float)]
    if not known:
        return "No surrogate could be compared: there are too few test events."
    best = min(known, key=lambda e: float(e["figures"]["classifier"]["auc"]["value"]))
    auc, floor = best["figures"]["classifier"]["auc"], best["floor"]["classifier"]["auc"]
    off = auc["value"] - floor["value"]
    near = off < 2 * math.hypot(error_of(auc), floor["statistical"] or 0.0)
    return (
        f"Of {len(entries)} surrogates, {best['surrogate']} is nearest to full simulation "
        f"(AUC {auc['value']:.3f}, floor {floor['value']:.3f}): "
        + (
            "at this sample size the two cannot be told apart."
            if near
            else "it differs, and what follows says where and by how much."
        )
    )
