"""convert: responses in the text format of a published sample -> a ROOT ntuple that ingest reads."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

import numpy as np

from sosie.detectors.tpc_rows import (
    BUCKETS,
    BUCKETS_BEFORE,
    PADS,
    PADS_BEFORE,
    ROW_PADS,
    ROWS,
)
from sosie.errors import InputError
from sosie.ntuples import write_ntuple
from sosie.progress import say, track

Array = np.ndarray[Any, Any]
TREE = "responses"
PARAMETERS = "params:"
PLACE = ("crossing_angle", "dip_angle", "drift_length", "pad_coordinate")
NAMES = (*PLACE, "padrow", "pT")
MAX_PAD = int(ROW_PADS.max())
MAX_TIME = 310
MAX_LOST = 0.01
PIECE = 10_000


@dataclass
class Digits:
    """One event of the text: the line of its parameters, these, and its digits."""

    line: int
    parameters: list[float]
    pad: list[int] = field(default_factory=list)
    time: list[int] = field(default_factory=list)
    amplitude: list[float] = field(default_factory=list)


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: '{text}' is not a finite number; mend or remove the event")
    return value


def _index(text: str, end: int, what: str, where: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise InputError(
            f"{where}: {what} '{text}' is not an integer; the digits are triplets pad, time, "
            "amplitude, mend or remove the event"
        ) from None
    if not 0 <= value < end:
        raise InputError(
            f"{where}: {what} {value} is not from 0 to {end - 1}; the digits are triplets pad, "
            "time, amplitude, mend or remove the event"
        )
    return value


def _parameters(words: list[str], where: str) -> list[float]:
    if len(words) not in (len(PLACE), len(NAMES)):
        raise InputError(
            f"{where}: {len(words)} parameters; there should be {len(PLACE)} ({' '.join(PLACE)}) or "
            f"{len(NAMES)} (and {' '.join(NAMES[len(PLACE) :])})"
        )
    values = [_number(word, where) for word in words]
    if len(values) > len(PLACE) and (row := values[4]) not in range(ROWS):
        raise InputError(f"{where}: padrow {row:g} is not from 0 to {ROWS - 1}; mend the event")
    return values


@contextmanager
def _opened(source: str) -> Iterator[TextIO]:
    """A text file to read; raises InputError where it is none."""
    try:
        with open(source, encoding="utf-8") as lines:
            yield lines
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"{source}: no such file; check the path") from None
    except UnicodeDecodeError:
        raise InputError(f"{source}: not text; give the text file of the digits") from None


def count_events(source: str) -> int:
    """The number of lines 'params: ...' in a text file; raises InputError where it is none."""
    with _opened(source) as lines:
        return sum(line.lstrip().startswith(PARAMETERS) for line in lines)


def read_digits(source: str) -> Iterator[Digits]:
    """The events of a text file, each a line 'params: ...' and then triplets pad, time, amplitude.

    The parameters are crossing angle and dip angle [deg], drift length [buckets], pad coordinate
    [pads] and perhaps pad row and pT [GeV]. InputError, with the number of the line, for a line that
    is none of these, a pad or a time that is no integer or out of range, a negative amplitude.
    Source: the text samples of SiLiKhon/TPC-FastSim, data/.
    """
    event: Digits | None = None
    with _opened(source) as lines:
        for number, line in enumerate(lines, 1):
            where, words = f"{source}: line {number}", line.split()
            if words and words[0] == PARAMETERS:
                if event:
                    yield event
                fresh = Digits(number, _parameters(words[1:], where))
                if event and len(fresh.parameters) != len(event.parameters):
                    raise InputError(
                        f"{where}: {len(fresh.parameters)} parameters, but "
                        f"{len(event.parameters)} before; convert the two kinds apart"
                    )
                event = fresh
            elif words and event is None:
                raise InputError(
                    f"{where}: digits before the first line '{PARAMETERS}'; this is not the text "
                    "format of TPC digits with parameters"
                )
            elif words and event is not None:
                _append(event, words, where)
    if event is None:
        raise InputError(
            f"{source}: no line '{PARAMETERS}' in it; give the text file of the digits"
        )
    yield event


def _append(event: Digits, words: list[str], where: str) -> None:
    """Put the triplets of a line behind the digits of an event."""
    if len(words) % 3:
        raise InputError(
            f"{where}: {len(words)} numbers, no whole triplets pad, time, amplitude; the line is cut, "
            "copy the file again"
        )
    pads = MAX_PAD
    if len(event.parameters) > len(PLACE):
        pads = int(ROW_PADS[int(event.parameters[4])])
    for pad, time, amplitude in zip(words[::3], words[1::3], words[2::3], strict=True):
        event.pad.append(_index(pad, pads, "pad", where))
        event.time.append(_index(time, MAX_TIME, "time", where))
        event.amplitude.append(_number(amplitude, where))
        if event.amplitude[-1] < 0:
            raise InputError(
                f"{where}: amplitude {amplitude} is negative; mend or remove the event"
            )


def place(event: Digits) -> tuple[dict[str, Any], float]:
    """Branches of an event, its digits on the window of 8 x 16 cells, and its total amplitude.

    n_outside counts the digits beyond the window, lost_outside is their share of the amplitude.
    """
    named = dict(zip(NAMES, event.parameters, strict=False))
    pad0 = math.floor(named["pad_coordinate"]) - PADS_BEFORE
    time0 = math.floor(named["drift_length"]) - BUCKETS_BEFORE
    pad, time = np.array(event.pad, int) - pad0, np.array(event.time, int) - time0
    amplitude = np.array(event.amplitude, float)
    inside = (pad >= 0) & (pad < PADS) & (time >= 0) & (time < BUCKETS)
    response = np.zeros((PADS, BUCKETS))
    np.add.at(response, (pad[inside], time[inside]), amplitude[inside])
    total = float(amplitude.sum())
    lost = float(amplitude[~inside].sum()) / total if total > 0 else 0.0
    found = {
        **{name: np.float32(value) for name, value in named.items()},
        "pad0": np.int32(pad0),
        "time0": np.int32(time0),
        "n_outside": np.int32((~inside).sum()),
        "lost_outside": np.float32(lost),
        "response": response.astype(np.float32),
    }
    return found, total


def tpc_digits(source: str, out: str) -> None:
    """Write the events of a text file of TPC digits as a TTree 'responses', one entry an event.

    Raises InputError for a line that cannot be read, and where more than 1 % of the amplitude lies
    outside the windows; the file at ``out`` is then left as it was.
    """
    events = outside = 0
    charge = lost = 0.0
    worst = (0.0, 0)
    number = count_events(source)
    with write_ntuple(out, TREE, rntuple=False) as append:
        waiting: list[dict[str, Any]] = []

        def flush() -> None:
            append({name: np.stack([e[name] for e in waiting]) for name in waiting[0]})
            waiting.clear()

        for event in track(read_digits(source), "convert", number):
            branches, total = place(event)
            waiting.append(branches)
            events, charge = events + 1, charge + total
            share = float(branches["lost_outside"])
            outside, lost = outside + int(branches["n_outside"]), lost + share * total
            worst = max(worst, (share * total, event.line))
            if len(waiting) == PIECE:
                flush()
        if lost > MAX_LOST * charge:
            raise InputError(
                f"{source}: {lost / charge:.1%} of the amplitude lies outside the windows of {PADS} "
                f"pads x {BUCKETS} buckets ({outside} digits, most at line {worst[1]}), at most "
                f"{MAX_LOST:.0%} may; check the order and the units of the parameters"
            )
        if waiting:
            flush()
    say("convert", f"{out}: {events} events, {outside} digits outside the window")


def run(source: str, out: str) -> None:
    """Convert the text file ``source`` to the ROOT file ``out``, which appears whole or not at all.

    Raises InputError for a text that cannot be converted.
    """
    tpc_digits(source, out)
