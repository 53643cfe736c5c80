"""Markdown: tables, and texts of other origin that cannot become markup."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sosie.files import UNPRINTED

MARKUP = re.compile(r"[\\`*<>&|!\[\]]")


def literal(value: Any) -> Any:
    """A value whose texts, the names of a mapping among them, stand for themselves in Markdown."""
    if isinstance(value, Mapping):
        return {literal(name): literal(inside) for name, inside in value.items()}
    if isinstance(value, list):
        return [literal(inside) for inside in value]
    return MARKUP.sub(r"\\\g<0>", UNPRINTED.sub(" ", value)) if isinstance(value, str) else value


def no_html(text: str) -> str:
    """Markdown written by hand, in which HTML is shown and not obeyed."""
    return text.replace("<", "&lt;")


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    rule = ["---"] * len(heads)
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, rule, *lines)) + "\n"
