"""What long work says while it runs."""

import sys
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TypeVar

T = TypeVar("T")


def say(step: str, text: str) -> None:
    """One line on standard error, with the step in front."""
    print(f"[{step}] {text}", file=sys.stderr, flush=True)


@cache
def warn(step: str, text: str) -> None:
    """A warning on standard error; the same one is given once."""
    say(step, f"warning: {text}")


def track(items: Iterable[T], step: str, total: int) -> Iterator[T]:
    """The items, with a progress bar where standard error is a terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track as bar

    yield from bar(
        items,
        description=f"[{step}]".replace("[", r"\["),
        total=total,
        console=Console(stderr=True),
    )
