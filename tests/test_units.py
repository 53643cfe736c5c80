"""Units of one quantity are turned into one another; others are refused with those that fit."""

import itertools
import math

import pytest

from sosie.errors import SettingsError
from sosie.units import UNITS, factor


@pytest.mark.parametrize(
    ("unit", "house", "expected"),
    [
        ("cm", "mm", 10),
        ("GeV", "MeV", 1000),
        ("MeV", "GeV", 1e-3),
        ("rad", "deg", 180 / math.pi),
        ("us", "ns", 1000),
        ("", "", 1),
        ("ADC", "ADC", 1),
    ],
)
def test_factor(unit, house, expected):
    assert factor(unit, house, "key") == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("quantity", UNITS)
def test_there_and_back(quantity):
    for a, b in itertools.product(UNITS[quantity], repeat=2):
        assert factor(a, b, "key") * factor(b, a, "key") == pytest.approx(1)


@pytest.mark.parametrize(
    ("unit", "house", "message"),
    [
        ("GeV", "mm", "key: unit 'GeV' does not fit; give one of um, mm, cm, m"),
        ("", "GeV", "key: unit is missing; give one of eV, keV, MeV, GeV, TeV"),
        ("GeV", "", "key: unit 'GeV' is given for a pure number; leave it out"),
        ("mV", "ADC", "key: unit 'mV' does not fit; give one of ADC"),
    ],
)
def test_units_that_do_not_fit(unit, house, message):
    with pytest.raises(SettingsError) as caught:
        factor(unit, house, "key")
    assert str(caught.value) == message
