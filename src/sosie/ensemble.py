"""ensemble: a trained surrogate becomes members, each a surrogate file that stands alone."""

from collections.abc import Sequence

from sosie.progress import say
from sosie.surrogates import load, save


def run(trained: str, outs: Sequence[str]) -> None:
    """Write one member for each path of ``outs``, in the order of the masks.

    Raises IntermediateError for a file that is no trained surrogate.
    """
    for path, member in zip(outs, load(trained).members(len(outs)), strict=True):
        save(path, member)
    say("ensemble", f"{trained}: {len(outs)} members")
