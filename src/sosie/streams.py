"""Random numbers: every stream is a function of the study's seed and of what it is for."""

import hashlib
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def key(seed: int, *labels: str | int) -> int:
    """A 63-bit integer, a function of the seed and the labels alone."""
    text = "\x1f".join(str(part) for part in (seed, *labels))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def stream(seed: int, *labels: str | int) -> np.random.Generator:
    """A counter-based generator of its own for each seed and labels."""
    return np.random.Generator(np.random.Philox(key(seed, *labels)))


def mix(values: Array) -> Array:
    """The finaliser of splitmix64 on uint64 values: a bijection whose output bits look random.

    Steele, Lea, Flood, OOPSLA 2014; constants of Stafford's variant 13.
    """
    with np.errstate(over="ignore"):
        z: Array = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            z ^= z >> np.uint64(shift)
            z *= np.uint64(factor)
        z ^= z >> np.uint64(31)
        return z


def combine(*columns: Array) -> Array:
    """One uint64 (N,) from integer columns (N,), in order."""
    state = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        state = mix(state ^ mix(np.asarray(column).astype(np.int64).view(np.uint64)))
    return state


def uniform(values: Array) -> Array:
    """Numbers in [0, 1) from uint64 values, 53 bits each."""
    return (values >> np.uint64(11)).astype(np.float64) * 2.0**-53
