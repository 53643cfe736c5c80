"""What ``sosie init`` writes into a study: values in quotes, numbers and shares in words."""

import math
import re
from typing import Any

import numpy as np
import yaml

from sosie.proposal.branches import finite

Array = np.ndarray[Any, Any]
PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*")
# What YAML cannot carry, or would take for the end of a line.
BREAKS = re.compile(
    "[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


def one_line(text: Any) -> str:
    """Text without line breaks and control characters, for a comment or the terminal."""
    return BREAKS.sub("?", str(text))


def quoted(value: Any) -> str:
    """A value as YAML on one line, in quotes wherever it is not a plain word."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {quoted(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(quoted, value)) + "]"
    if not isinstance(value, str):
        return str(value)
    if PLAIN.fullmatch(value) and yaml.safe_load(value) == value:
        return value
    text: str = yaml.safe_dump(value, default_style='"', allow_unicode=True, width=10**9)
    return text.strip()


def number(value: float) -> str:
    """A number to four digits, without an exponent where it is easy to read."""
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e7 else f"{value:.4g}"


def share(value: float) -> str:
    """A share in per cent, to two digits of itself or of what is left; 0 and 100 are exact."""
    digits = 2 if value <= 0.5 else 1 - math.floor(math.log10(1 - value)) if value < 1 else 3
    return f"{100 * value:.{digits}g} %"


def span(values: Array) -> str:
    """The range of some values, as '-0.5 to 0.5'."""
    seen = finite(values)
    return f"{number(seen.min())} to {number(seen.max())}" if len(seen) else "no finite number"
