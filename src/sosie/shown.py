"""What the report shows: figures with their words, and the results that they are drawn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from matplotlib.figure import Figure

from sosie.profiles import below
from sosie.style import Drawn


@dataclass(frozen=True)
class Shown:
    """A figure of the page: name, title, and a sentence on how to read it."""

    name: str
    title: str
    text: str
    figure: Figure
    folded: bool = False


@dataclass(frozen=True)
class Validation:
    """What moments or reconstruct wrote of every surrogate, ready to draw."""

    about: Mapping[str, Any]
    drawn: Sequence[Drawn]
    found: Mapping[str, Any]

    def part(self, prefix: str) -> list[Drawn]:
        """The arrays below a prefix, of each surrogate."""
        return [replace(d, arrays=below(prefix, d.arrays)) for d in self.drawn]
