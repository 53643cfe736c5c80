"""The truth of groups of events, as of the tracks whose pad rows are events, from a tree of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sosie.detectors.base import Detector
from sosie.errors import InputError
from sosie.expressions import branches
from sosie.layouts import TRUTH, Layout, per_event
from sosie.ntuples import check_branches, open_ntuple, read_columns
from sosie.units import factor

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Truth:
    """Rising numbers of groups (G,), and the true values of each by name (G,) in house units."""

    groups: Array
    values: Mapping[str, Array]


def read_truth(path: str, detector: Detector, layout: Layout) -> Truth | None:
    """The truth in a file, None for a layout without one.

    The tree has a branch of the name of the group's. Raises InputError for a tree or branch that is
    not there, a group that is there twice, and values that are not finite.
    """
    if layout.truth is None or detector.groups is None or layout.group is None:
        return None
    sources, tree = layout.truth["values"], layout.truth["tree"]
    named = [layout.group]
    for name, source in sources.items():
        named += branches(source["expression"], f"ingest.truth.values.{name}")
    named = list(dict.fromkeys(named))
    with open_ntuple(path, tree) as table:
        check_branches(path, table, named)
        count = int(table.num_entries)
        columns = read_columns(path, table, named, 0, count)
    groups = columns[layout.group]
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    if (twice := ordered[1:] == ordered[:-1]).any():
        raise InputError(
            f"{path}: tree '{tree}' has {layout.group} {ordered[1:][twice][0]} twice; "
            "mend the ntuple"
        )
    values = {}
    for name, source in sources.items():
        key = f"ingest.truth.values.{name}"
        found = per_event(path, source["expression"], columns, count, key).astype(np.float64)
        found = found * factor(source["unit"], detector.groups.truth[name], f"{key}.unit")
        if not np.isfinite(found).all():
            first = int(np.argmin(np.isfinite(found)))
            raise InputError(
                f"{path}: {key} = '{source['expression']}' is {found[first]} for {layout.group} "
                f"{groups[first]}; mend the ntuple"
            )
        values[name] = found[order]
    return Truth(ordered, values)


def columns_of_events(path: str, layout: Layout, truth: Truth, groups: Array) -> dict[str, Array]:
    """The truth of each event (N,) from the numbers of their groups (N,).

    Raises InputError for a group without truth.
    """
    place = np.minimum(np.searchsorted(truth.groups, groups), max(len(truth.groups) - 1, 0))
    known = truth.groups[place] == groups if len(truth.groups) else np.zeros(len(groups), bool)
    if not known.all():
        assert layout.truth is not None
        raise InputError(
            f"{path}: {layout.group} {groups[~known][0]} has no entry in tree "
            f"'{layout.truth['tree']}' ({int((~known).sum())} such events in this piece); add it, "
            "or leave these events out with ingest.selection"
        )
    return {f"{TRUTH}{name}": values[place] for name, values in truth.values.items()}
