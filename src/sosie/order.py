"""Values at given ranks of samples of any size: exact, in passes, in memory that does not grow."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
BITS = 11
"""Binary digits of a value that are found in one pass."""
SHIFTS = tuple(range(55, -1, -BITS))
_SIGN = np.uint64(1 << 63)

Pieces = Callable[[], Iterable[Mapping[str, Array]]]
"""Begins a pass: the values (n,) of each variable by name, piece by piece."""


def _words(values: Array) -> Array:
    """Words (n,) in the order of the values (n,)."""
    # Minus zero equals zero.
    bits = (np.asarray(values, np.float64) + 0.0).view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _values(words: Array) -> Array:
    return np.where(words & _SIGN, words & ~_SIGN, ~words).view(np.float64)


@dataclass
class _Search:
    """The leading digits (r,) of the values that are sought, and their ranks among those alike."""

    heads: Array
    ranks: Array
    counts: Array

    def add(self, words: Array, shift: int) -> None:
        """Count the next digit of the words (n,) that begin like one of the heads."""
        width = self.counts.shape[1]
        digit = (words >> np.uint64(shift)).astype(np.int64) % width
        known = np.unique(self.heads)
        # A shift by 64 is not defined.
        head = words >> np.uint64(shift) >> np.uint64(width.bit_length() - 1)
        place = np.searchsorted(known, head).clip(0, len(known) - 1)
        inside = known[place] == head
        np.add.at(self.counts, (place[inside], digit[inside]), 1)

    def narrow(self) -> None:
        """Take the digit of each value from the counts."""
        sums = self.counts[np.searchsorted(np.unique(self.heads), self.heads)].cumsum(axis=1)
        digit = (sums <= self.ranks[:, None]).sum(axis=1)
        before = np.hstack([np.zeros((len(sums), 1), np.int64), sums])
        self.ranks = self.ranks - before[np.arange(len(sums)), digit]
        bits = np.uint64(self.counts.shape[1].bit_length() - 1)
        self.heads = (self.heads << bits) | digit.astype(np.uint64)


def equal_parts(pieces: Pieces, parts: Mapping[str, int]) -> dict[str, Array]:
    """The smallest value of each of B equally filled parts, and the largest of all: (B+1,), by name.

    ``parts`` gives B of each variable. Values that are not finite are left out; empty where none is.
    """
    found = {name: _Search(*([np.zeros(1, np.int64)] * 3)) for name in parts}
    for shift in SHIFTS:
        width = 1 << min(BITS, 64 - shift)
        for search in found.values():
            heads = np.unique(search.heads) if shift != SHIFTS[0] else np.zeros(1, np.uint64)
            search.counts = np.zeros((len(heads), width), np.int64)
            search.heads = search.heads.astype(np.uint64)
        for piece in pieces():
            for name, search in found.items():
                values = piece[name]
                search.add(_words(values[np.isfinite(values)]), shift)
        for name, search in found.items():
            if shift == SHIFTS[0]:
                number = int(search.counts.sum())
                ranks = np.arange(parts[name]) * number // parts[name]
                search.ranks = np.append(ranks, number - 1) if number else np.empty(0, np.int64)
                search.heads = np.zeros(len(search.ranks), np.uint64)
            search.narrow()
    return {name: _values(search.heads) for name, search in found.items()}
