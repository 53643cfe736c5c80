"""Responses that another program made, in HDF5: our event table, or the names of the CaloChallenge."""

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sosie.detectors.base import Detector
from sosie.errors import InputError, SettingsError
from sosie.events import INCIDENT, KIND, MERGED, VIEW, open_events
from sosie.hdf5 import one_line, plain
from sosie.units import factor

Array = np.ndarray[Any, Any]
HDF5 = (".h5", ".hdf5", ".hdf")
ENERGY = "MeV"
ROWS = 4096


def is_hdf5(path: str) -> bool:
    """Whether a file is taken for HDF5, by its name."""
    return Path(path).suffix.lower() in HDF5


def read_hdf5(path: str, detector: Detector) -> tuple[Array, Array, Array]:
    """Responses (N, *shape), conditions (N, C) and incident energies (N,) of a file, float32.

    In house units, the energies in MeV; conditions that the file does not hold are NaN, and so are
    the energies of an event table. Raises InputError for a file that cannot be used.
    """
    try:
        with h5py.File(path, "r") as file:
            table = plain(file.attrs.get("kind")) in (KIND, MERGED)
            found = None if table else _calochallenge(path, file, detector)
    except (InputError, SettingsError):
        raise
    # Damaged metadata make h5py raise whatever its bytes happen to mean.
    except Exception as error:
        raise InputError(f"{path}: cannot be read ({one_line(error)}); write it again") from None
    return found or _event_table(path, detector)


def _event_table(path: str, detector: Detector) -> tuple[Array, Array, Array]:
    with open_events(path) as events:
        if events.detector != detector.name:
            raise InputError(
                f"{path}: holds events of detector '{events.detector}', the study is of "
                f"'{detector.name}'; give responses of that detector"
            )
        response = np.empty((len(events), *detector.shape), np.float32)
        for where, piece in events.responses():
            response[where] = piece
        conditions = events.column("conditions")
    return response, conditions, np.full(len(response), np.nan, np.float32)


def _calochallenge(path: str, file: h5py.File, detector: Detector) -> tuple[Array, Array, Array]:
    """``showers`` (N, cells) and ``incident_energies`` (N, 1), and conditions by their names.

    Source: the format of https://calochallenge.github.io, energies in MeV.
    """
    if detector.incident_energy is None:
        raise InputError(
            f"{path}: is no event table, and '{detector.name}' is no calorimeter whose responses "
            "come as 'showers'; give ROOT files or an event table"
        )
    size = math.prod(detector.shape)
    showers = _numbers(path, file, VIEW, size, ENERGY, detector.unit)
    energy = _numbers(path, file, INCIDENT, 1, ENERGY, ENERGY)
    conditions = np.full((len(showers), len(detector.conditions)), np.nan, np.float32)
    for column, (name, house) in enumerate(detector.conditions.items()):
        if name in file:
            values = _numbers(path, file, name, 1, house, house)
            _refuse_length(path, name, len(values), len(showers))
            _refuse_not_finite(path, name, values[:, 0])
            conditions[:, column] = values[:, 0]
    _refuse_length(path, INCIDENT, len(energy), len(showers))
    _refuse_not_finite(path, INCIDENT, energy[:, 0])
    return showers.reshape(-1, *detector.shape), conditions, energy[:, 0]


def _refuse_length(path: str, name: str, found: int, expected: int) -> None:
    if found != expected:
        raise InputError(
            f"{path}: '{name}' holds {found} events, '{VIEW}' {expected}; give one each"
        )


def _refuse_not_finite(path: str, name: str, values: Array) -> None:
    if (bad := ~np.isfinite(values)).any():
        first = int(np.argmax(bad))
        raise InputError(
            f"{path}: '{name}' is {values[first]} in event {first} ({int(bad.sum())} such events), "
            "not a finite number; copy it from the sample"
        )


def _unit(path: str, data: h5py.Dataset, name: str, usual: str, house: str) -> float:
    """What to multiply a dataset with: its attribute ``unit`` or ``units``, or what is usual."""
    stated = [plain(data.attrs[key]) for key in ("unit", "units") if key in data.attrs]
    # A file may say it once for all energies.
    if not stated and usual == ENERGY:
        stated = [
            plain(data.file.attrs[key]) for key in ("unit", "units") if key in data.file.attrs
        ]
    unit = str(stated[0][0] if isinstance(stated[0], list) else stated[0]) if stated else usual
    try:
        return factor(unit.strip(), house, f"'{name}'")
    except SettingsError as error:
        raise InputError(f"{path}: {error}") from None


def _numbers(path: str, file: h5py.File, name: str, size: int, usual: str, house: str) -> Array:
    """A dataset as (N, size) float32 in house units; raises InputError for anything else."""
    if name not in file:
        raise InputError(
            f"{path}: no dataset '{name}'; there are {', '.join(file) or 'none'}; give "
            f"'{VIEW}' and '{INCIDENT}', or an event table"
        )
    # What is stored elsewhere could be any file of the machine.
    data = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
    if (
        not isinstance(data, h5py.Dataset)
        or data.is_virtual
        or data.external
        or data.dtype.kind not in "fiu"
    ):
        raise InputError(f"{path}: '{name}' is no dataset of numbers in this file; write it so")
    if data.ndim == 0 or math.prod(data.shape[1:]) != size:
        shape = " x ".join(map(str, data.shape[1:])) or "1"
        raise InputError(
            f"{path}: '{name}' holds {shape} numbers for each event, expected {size}; give them in "
            "the shape of the detector"
        )
    unit = _unit(path, data, name, usual, house)
    values = np.empty((len(data), size), np.float32)
    with np.errstate(over="ignore"):
        for start in range(0, len(data), ROWS):
            piece = data[start : start + ROWS].reshape(-1, size)
            values[start : start + ROWS] = piece if unit == 1 else piece * unit
    return values
