"""Units: what a study states of a branch, turned into house units."""

import math

from sosie.errors import SettingsError

UNITS = {
    "length": {"um": 1e-3, "mm": 1.0, "cm": 10.0, "m": 1000.0},
    "energy": {"eV": 1e-9, "keV": 1e-6, "MeV": 1e-3, "GeV": 1.0, "TeV": 1e3},
    "angle": {"mrad": math.degrees(1e-3), "rad": math.degrees(1), "deg": 1.0},
    "time": {"ns": 1.0, "us": 1e3, "s": 1e9},
}


def factor(unit: str, house: str, key: str) -> float:
    """What to multiply a number in ``unit`` with to get it in ``house``; ``key`` is named in errors.

    Raises SettingsError when the two do not measure the same thing.
    """
    if unit == house:
        return 1.0
    if not house:
        raise SettingsError(f"{key}: unit '{unit}' is given for a pure number; leave it out")
    valid = next((known for known in UNITS.values() if house in known), {house: 1.0})
    if unit not in valid:
        what = f"unit '{unit}' does not fit" if unit else "unit is missing"
        raise SettingsError(f"{key}: {what}; give one of {', '.join(valid)}")
    return valid[unit] / valid[house]
