"""Units: what a study states of a branch, turned into house units."""

from sosie.errors import SettingsError

UNITS = {
    "length": {"um": 1e-3, "mm": 1.0, "cm": 10.0, "m": 1000.0},
    "energy": {"eV": 1e-9, "keV": 1e-6, "MeV": 1e-3, "GeV": 1.0, "TeV": 1e3},
    "angle": {"mrad": 180e-3 / 3.141592653589793, "rad": 180 / 3.141592653589793, "deg": 1.0},
    "time": {"ns": 1.0, "us": 1e3, "s": 1e9},
}


def factor(unit: str, house: str, key: str) -> float:
    """What to multiply a number in ``unit`` with to get it in ``house``; ``key`` is named in errors.

    Raises SettingsError when the two do not measure the same thing.
    """
    if unit == house:
        return 1.0
    for known in UNITS.values():
        if house in known:
            if unit in known:
                return known[unit] / known[house]
            raise SettingsError(f"{key}: unit '{unit}' is not one of {', '.join(known)}")
    raise SettingsError(f"{key}: unit '{unit}' should be '{house}'")
