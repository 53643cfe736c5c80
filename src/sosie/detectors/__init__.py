"""The detectors by name."""

from sosie.detectors import ecal, rich, tpc
from sosie.detectors.base import Detector
from sosie.errors import SettingsError

DETECTORS: dict[str, Detector] = {"ecal": ecal.DETECTOR, "rich": rich.DETECTOR, "tpc": tpc.DETECTOR}


def find(name: str) -> Detector:
    """The detector of this name; raises SettingsError for one that is not there."""
    if name not in DETECTORS:
        raise SettingsError(f"detector: '{name}' is not one of {', '.join(DETECTORS)}")
    return DETECTORS[name]
