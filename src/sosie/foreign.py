"""Responses that another program made: ntuples of the layout of the study."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sosie.detectors import find
from sosie.errors import InputError
from sosie.files import find_files
from sosie.layouts import Layout
from sosie.reading import read_pieces, survey

Array = np.ndarray[Any, Any]
MEMORY = 16_000_000


def read_foreign(
    patterns: Sequence[str], detector: str, layout: Layout, threshold: float
) -> tuple[Array, Array]:
    """Responses (N, *shape), zero-suppressed, and conditions (N, C) of all events of some files.

    Selection, weight and truth of the layout are left out: the file has what it has. Raises
    InputError for files that cannot be used, or with numbers that are not finite.
    """
    kind, files = find(detector), find_files(patterns, "train.surrogates")
    layout = survey(files, kind, replace(layout, selection=None, weight=None, truth=None))
    responses, conditions = [], []
    for source, piece in read_pieces(files, kind, layout, MEMORY, 1, lambda piece: piece):
        if piece is None:
            continue
        if piece.problem:
            raise InputError(f"{source.path}: {piece.problem}; mend the file")
        response = piece.block.response
        responses.append(response if kind.signed else response * (response >= threshold))
        conditions.append(piece.block.conditions)
    return np.concatenate(responses), np.concatenate(conditions)
