"""The halves of the validation sample: one chooses weights, the other is left for calibration."""

from dataclasses import replace
from typing import Any

import numpy as np

from sosie import __version__
from sosie.detectors import find
from sosie.errors import InputError
from sosie.events import open_events, write_events
from sosie.files import file_digest
from sosie.progress import say
from sosie.streams import key, mix, uniform

Array = np.ndarray[Any, Any]


def chooses(groups: Array, seed: int) -> Array:
    """The half of the validation sample that chooses weights; the other half is left for calibration.

    groups (N,) uint64, (N,) bool: a function of the group and the seed.
    """
    return uniform(mix(groups ^ np.uint64(key(seed, "train", "chooses")))) < 0.5


def run(validation: str, out: str, *, seed: int, code: str = "") -> None:
    """Write the events of the table ``validation`` that chose no weights, with all their columns.

    Raises InputError where there are none.
    """
    with open_events(validation) as events:

        def left(where: slice) -> Array:
            return ~chooses(events.rows("group_id", where), seed)

        kept = sum(int(left(where).sum()) for where in events.pieces())
        if not kept:
            raise InputError(
                f"{validation}: none of its {len(events)} events is left for calibration; give more "
                "events, or a larger share to ingest.split.validation"
            )
        attributes = {
            **{name: events.attributes[name] for name in ("threshold", "layout")},
            "provenance": {
                "sosie": __version__,
                "code": code,
                "seed": seed,
                "inputs": {"validation": file_digest(validation)},
            },
        }
        with write_events(out, find(events.detector), attributes) as writer:
            for where, response in events.responses():
                rows = np.flatnonzero(left(where))
                if len(rows):
                    writer.append(replace(events.conditioned(where), response=response), rows)
        say("ingest", f"{out}: {kept} of {len(events)} events")
