"""external: responses that another program made for these very conditions; no training."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from sosie.errors import InputError
from sosie.events import Column
from sosie.progress import warn
from sosie.surrogates.base import Array, Origin
from sosie.surrogates.stored import Stored

TOLERANCE = 1e-4
"""Largest relative difference of numbers of twins, which other programs may round."""
TINY = 1e-6
"""The same relative to the largest number of a sample, for those near 0."""


def _occurrence(group: Array) -> Array:
    """How often each group (N,) was there before, (N,)."""
    order = np.argsort(group, kind="stable")
    count = np.unique(group, return_counts=True)[1]
    number = np.empty(len(group), np.int64)
    number[order] = np.arange(len(group)) - np.repeat(np.cumsum(count) - count, count)
    return number


def _off(found: Array, asked: Array) -> Array:
    """Which numbers (N,) are not those that are asked for, (N,)."""
    near = TINY * np.abs(asked).max(initial=0)
    wrong: Array = ~(np.abs(found - asked) <= TOLERANCE * np.abs(asked) + near)
    return wrong


class External(Stored):
    """The event of the file in the same place of the sample, or else that with the same conditions.

    ``response`` (N, *shape), NaN where it is of no use; ``conditions`` (N, C) and ``incident`` (N,),
    NaN where the file does not hold them. Of several events with the same conditions, the k-th of the
    sample gets the k-th of the file.
    """

    kind = "external"
    kept = ("response", "conditions", "incident")
    anywhere = False

    def __init__(
        self,
        origin: Origin,
        settings: Mapping[str, Any],
        response: Array,
        conditions: Array,
        incident: Array,
    ) -> None:
        super().__init__(origin, settings)
        self.response, self.conditions, self.incident = response, conditions, incident
        self._given = ~np.asarray(np.isnan(conditions).all(axis=0))
        self._bad = np.asarray(np.isnan(response.reshape(len(response), -1)).any(axis=1))

    def sample(self, conditions: Array, rng: np.random.Generator) -> Array:
        """The responses for a whole sample; ``rng`` is not used.

        Raises InputError where the file is not one for these conditions.
        """
        return self.response[self._rows(conditions)]

    def batches(
        self, conditions: Array | Column, size: int, rng: np.random.Generator
    ) -> Iterator[tuple[Array, Array]]:
        """The same, ``size`` events at a time: the whole sample tells which event is which."""
        rows = self._rows(conditions[:])
        for start in range(0, len(rows), size):
            here = np.arange(start, min(start + size, len(rows)))
            yield here, self.response[rows[here]]

    @property
    def _files(self) -> str:
        return ", ".join(self.settings["files"])

    def _rows(self, conditions: Array) -> Array:
        """The event of the file (N,) for each event of a sample."""
        reason = self._not_twins(conditions)
        if not reason:
            rows = np.arange(len(conditions))
        elif self._given.all():
            rows = self._same(conditions)
        else:
            raise InputError(f"{self._files}: {reason}")
        return self._mended(rows, conditions)

    def _not_twins(self, conditions: Array) -> str:
        """Why the events of the file are not those of the sample in its order; '' where they are."""
        if len(conditions) != len(self.response):
            return (
                f"holds {len(self.response)} events, the sample {len(conditions)}; give one for each "
                "event of the sample, in its order, or all conditions with them"
            )
        pairs = {
            f"'{name}'": (self.conditions[:, column], conditions[:, column])
            for column, name in enumerate(self.detector.conditions)
            if self._given[column]
        }
        if self.detector.incident_energy and not np.isnan(self.incident).all():
            energy = self.detector.incident_energy(conditions)
            pairs = {"the incident energy in MeV": (self.incident, energy), **pairs}
        wrong = {what: _off(*pair) for what, pair in pairs.items()}
        off = [(int(np.argmax(w)), what, int(w.sum())) for what, w in wrong.items() if w.any()]
        if not off:
            return ""
        event, what, count = min(off, key=lambda each: each[0])
        found, asked = (float(values[event]) for values in pairs[what])
        return (
            f"{what} is {found:.9g} in event {event}, that of the sample {asked:.9g} ({count} of "
            f"{len(conditions)} such events); give the events of the sample in its order"
        )

    def _same(self, conditions: Array) -> Array:
        """The event (N,) with exactly the same conditions, of several the one in turn."""
        # Minus zero equals zero.
        both = np.concatenate([self.conditions, conditions.astype(np.float32)]) + np.float32(0)
        group = np.unique(both, axis=0, return_inverse=True)[1].reshape(-1)
        known, asked = group[: len(self.conditions)], group[len(self.conditions) :]
        place = {key: row for row, key in enumerate(zip(known, _occurrence(known), strict=True))}
        rows = [place.get(key) for key in zip(asked, _occurrence(asked), strict=True)]
        if None in rows:
            first = rows.index(None)
            raise InputError(
                self._missing(conditions, first, rows.count(None), known, asked[first])
            )
        return np.array(rows, np.int64)

    def _missing(self, conditions: Array, event: int, count: int, known: Array, group: int) -> str:
        there = int((known == group).sum())
        wanted = conditions[event]
        if there:
            named = f"holds {there} events with the conditions of event {event}, the sample more"
        else:
            width = np.maximum(np.ptp(self.conditions, axis=0), 1e-9)
            away = np.abs((self.conditions - wanted) / width).max(axis=1)
            near = int(np.argmin(away))
            other = ", ".join(
                f"{name} {asked!s} (nearest, event {near}: {found!s})"
                for name, asked, found in zip(
                    self.detector.conditions, wanted, self.conditions[near], strict=True
                )
                if asked != found
            )
            named = f"no event with the conditions of event {event}: {other}"
        return (
            f"{self._files}: {named} ({count} of {len(conditions)} events are missing); give "
            "responses for the conditions of the sample"
        )

    def _mended(self, rows: Array, conditions: Array) -> Array:
        """The rows (N,) with those of no use replaced by that of the nearest event of the sample."""
        bad = self._bad[rows]
        if not bad.any():
            return rows
        if bad.all():
            raise InputError(f"{self._files}: no response for these conditions is finite; mend it")
        warn(
            "generate",
            f"{self._files}: {int(bad.sum())} of {len(rows)} responses are not finite; these events "
            "get the response of the event with nearest conditions",
        )
        features = self.features(conditions)
        nearest = KDTree(features[~bad]).query(features[bad])[1]
        mended = rows.copy()
        mended[bad] = rows[~bad][nearest]
        return mended
