"""A scan of the training sample: one surrogate becomes several, each learning from a fraction."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sosie.complaints import near
from sosie.sections import Scan, Train
from sosie.surrogate_sections import NETWORKS


def names(surrogate: str, fractions: Sequence[float]) -> list[str]:
    """The names of the surrogates of a scan: that of the surrogate, and the percent of the sample."""
    return [f"{surrogate}_{100 * fraction:.0f}" for fraction in fractions]


def expand(train: Train) -> Train:
    """The section with the surrogates of its scan beside its own."""
    if train.scan is None:
        return train
    whole, fractions = train.surrogates[train.scan.surrogate], train.scan.fractions
    more = {
        name: whole.model_copy(update={"fraction": fraction})
        for name, fraction in zip(names(train.scan.surrogate, fractions), fractions, strict=True)
    }
    return train.model_copy(update={"surrogates": {**train.surrogates, **more}})


def _read(scan: Any) -> Scan | None:
    """The scan; None where there is none, or none that its section takes."""
    try:
        return Scan.model_validate(scan, strict=False)
    except ValueError:
        return None


def further(scan: Any) -> list[str]:
    """The names of the surrogates that a scan adds."""
    known = _read(scan)
    return names(known.surrogate, known.fractions) if known else []


def problems(scan: Any, surrogates: Mapping[str, Any]) -> Iterator[str]:
    """What a scan of these surrogates cannot be, as 'key: what is wrong; remedy'."""
    known = _read(scan)
    if known is None:
        return
    name, fractions = known.surrogate, known.fractions
    if name not in surrogates:
        hint = near(name, surrogates)
        yield f"train.scan.surrogate: there is no surrogate '{name}'; {hint}"
        return
    how = surrogates[name]
    kind = how.get("kind") if isinstance(how, Mapping) else None
    if kind not in NETWORKS:
        yield (
            f"train.scan.surrogate: '{name}' is of kind {kind}, which has no network; "
            f"take one of kind {', '.join(NETWORKS)}"
        )
    elif kind == "one_step":
        yield f"train.scan.surrogate: '{name}' learns from '{how.get('teacher')}'; scan that one"
    elif "fraction" in how:
        yield f"train.surrogates.{name}.fraction: train.scan gives the fractions; leave it out"
    given = names(name, fractions)
    for number, (fraction, own) in enumerate(zip(fractions, given, strict=True)):
        key = f"train.scan.fractions.{number}"
        if abs(100 * fraction - round(100 * fraction)) > 1e-9:
            yield f"{key}: should be whole percent, as 0.25, not {fraction:g}"
        elif own in given[:number]:
            yield f"{key}: {fraction:g} is there already; give each fraction once"
        elif own in surrogates:
            yield f"{key}: there is a surrogate '{own}' already; rename it"
