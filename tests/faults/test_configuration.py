"""Every key of every study that ships, misspelt and with a value of another type, is refused."""

from copy import deepcopy

import pytest
import yaml

from conftest import ROOT
from sosie.errors import SettingsError
from sosie.settings import load

STUDIES = sorted((ROOT / "config").glob("*.yaml"))
# Mappings whose keys are names that the user gives.
NAMES = {"train.surrogates", "ingest.samples"}
TEXT = [{"a": {"b": 1}}, [[1]], 3.5]
NUMBER = ["no number", {"a": {"b": 1}}, [["a"]]]
OTHERS = {str: TEXT[:2], bool: ["no number", [["a"]]], int: NUMBER, float: NUMBER}

pytestmark = pytest.mark.fault(9)


def keys(value, place=()):
    """Every key by its place, and the value of it."""
    if isinstance(value, dict):
        for name, inside in value.items():
            yield (*place, name), inside
            yield from keys(inside, (*place, name))


def replaced(study, place, name, value):
    """The study with another name or value of one key."""
    study = deepcopy(study)
    inside = study
    for word in place[:-1]:
        inside = inside[word]
    del inside[place[-1]]
    inside[name] = value
    return study


def said(study):
    """The complaints of a study, a line each."""
    try:
        load(study, "study.yaml")
    except SettingsError as error:
        return str(error).split("\n")
    return []


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_misspelt_key_is_refused_with_the_nearest_valid_one(path, tally):
    study = yaml.safe_load(path.read_text(encoding="utf-8"))
    for place, value in keys(study):
        if ".".join(place[:-1]) in NAMES:
            continue
        name = place[-1][:1] + place[-1]
        lines = said(replaced(study, place, name, value))
        wanted = f"study.yaml: {'.'.join((*place[:-1], name))}: "
        hint = f"did you mean '{place[-1]}'?"
        held = any(line.startswith(wanted) and hint in line for line in lines)
        # Without its kind, nobody knows which keys a surrogate has.
        lacking = f"study.yaml: {'.'.join(place)}: missing; add this key"
        tally.add(held or (place[-1] == "kind" and lacking in lines), f"{wanted} {lines}")


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_value_of_another_type_is_refused_with_its_key(path, tally):
    study = yaml.safe_load(path.read_text(encoding="utf-8"))
    for place, value in keys(study):
        for other in OTHERS.get(type(value), [3.5]):
            lines = said(replaced(study, place, place[-1], other))
            wanted = f"study.yaml: {'.'.join(place)}"
            held = any(line.startswith(wanted) for line in lines)
            tally.add(held, f"{wanted} = {other!r}: {lines}")
