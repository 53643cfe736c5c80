"""What of a surrogate only shows beside the others and the detector."""

from collections.abc import Iterator, Mapping
from typing import Any

from sosie.complaints import near
from sosie.detectors.base import Detector
from sosie.surrogate_sections import FlowMatching

SHARED = ("method", "fraction")


def teachers(surrogates: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the teachers of these surrogates, as 'key: what is wrong; remedy'."""
    plain = {name: how for name, how in surrogates.items() if isinstance(how, Mapping)}
    able = [name for name, how in plain.items() if how.get("kind") == "flow_matching"]
    for name, how in plain.items():
        key, teacher = f"train.surrogates.{name}", how.get("teacher")
        if how.get("kind") != "one_step" or not isinstance(teacher, str):
            continue
        if teacher not in able:
            what = "is of another kind" if teacher in surrogates else "is not there"
            hint = near(teacher, able) if able else "add a surrogate of kind flow_matching"
            yield f"{key}.teacher: surrogate '{teacher}' {what}; {hint}"
            continue
        for word in SHARED:
            default = FlowMatching.model_fields[word].default
            own, wanted = how.get(word, default), plain[teacher].get(word, default)
            if own != wanted:
                yield f"{key}.{word}: {own}, but its teacher '{teacher}' has {wanted}; give the same"


def priorities(surrogates: Mapping[str, Any], detector: Detector) -> Iterator[str]:
    """What is wrong with the observables that these surrogates prioritise."""
    for name, how in surrogates.items():
        given = how.get("prioritise") if isinstance(how, Mapping) else None
        given = given if isinstance(given, list) else []
        for number, word in enumerate(given):
            key = f"train.surrogates.{name}.prioritise.{number}"
            if word not in detector.observables:
                hint = near(str(word), detector.observables)
                yield f"{key}: {detector.name} has no observable '{word}'; {hint}"
            elif word in given[:number]:
                yield f"{key}: '{word}' is there already; give each observable once"
