"""init: looks into an ntuple and writes a commented study file for it; no step of the pipeline."""

import glob
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import uproot

from sosie.detectors import find
from sosie.detectors.base import Detector
from sosie.errors import InputError, SosieError
from sosie.files import write_text
from sosie.ntuples import LOCAL, check_branches, open_ntuple, read_columns, read_ntuple
from sosie.proposal.branches import Branch
from sosie.proposal.conditions import conditions, place_unit
from sosie.proposal.draft import Look, study_text
from sosie.proposal.names import identity_order
from sosie.proposal.response import responses
from sosie.proposal.wording import one_line, share
from sosie.start import MEANT
from sosie.streams import combine

Array = np.ndarray[Any, Any]
SAMPLED = 2000
FIRST = 64
MEMORY = 200 * 10**6


def _trees(path: str) -> list[str]:
    """The trees in a file; none where it cannot be read, which ``open_ntuple`` words."""
    try:
        with uproot.open({path: None}, **LOCAL) as file:
            classes = file.classnames(cycle=False)
    except Exception:
        return []
    return [n for n, kind in classes.items() if kind == "TTree" or kind.endswith("RNTuple")]


def _title(item: Any) -> str:
    """The title of a TTree or branch, the description of an RNTuple or field."""
    return str(getattr(item, "title", None) or getattr(item, "description", None) or "")


def _names(table: Any) -> list[str]:
    """Names of branches as an expression takes them: without those around them where that is clear."""
    paths = list(table.keys())
    short = [path.rsplit("/", 1)[-1] for path in paths]
    return [s if short.count(s) == 1 else path for s, path in zip(short, paths, strict=True)]


def _read(path: str, table: Any, name: str, count: int) -> Branch | None:
    """The first entries of a branch of numbers, None for another one."""
    try:
        column = read_columns(path, table, [name], 0, count, ragged=[name])[name]
    except InputError:
        return None
    try:
        title = _title(table[name])
    except KeyError:  # uproot takes a backslash in a name for a path
        title = ""
    return Branch(name, title, column)


def survey(path: str, table: Any) -> list[Branch]:
    """The branches of numbers with their first entries, at most SAMPLED and about MEMORY bytes."""
    entries = int(table.num_entries)
    count = min(FIRST, entries)
    found = [b for name in _names(table) if (b := _read(path, table, name, count))]
    size = sum(branch.column.nbytes for branch in found) / max(1, count)
    most = min(SAMPLED, entries, max(count, int(MEMORY / max(1.0, size))))
    return [b for branch in found if (b := _read(path, table, branch.name, most))]


def _records(names: Sequence[str]) -> set[str]:
    """Names of records, whose fields are branches of their own."""
    return {name for name in names if any(other.startswith(f"{name}.") for other in names)}


def look_at(path: str, tree: str, detector: Detector) -> Look:
    """What one tree of a file offers; identity and other files are not looked at yet."""
    with open_ntuple(path, tree) as table:
        found = survey(path, table) if table.num_entries else []
        names = [branch.name for branch in found]
        records = _records(_names(table))
        likely = responses(found, detector)
        sources = conditions(found, detector, _title(table))
        if likely:
            sources = place_unit(sources, likely[0].cells, detector)
        return Look(
            files=[path],
            tree=tree,
            others=[],
            title=_title(table),
            entries=int(table.num_entries),
            sampled=len(found[0].column) if found else 0,
            branches=found,
            detector=detector,
            responses=likely,
            conditions=sources,
            unreadable=[n for n in _names(table) if n not in names and n not in records],
        )


def choose(path: str, tree: str | None, detector: Detector) -> Look:
    """The tree asked for, or the one with a response and most entries.

    Raises InputError where the file cannot be read or holds no tree with entries.
    """
    names = _trees(path)
    if tree is not None or not names:
        looks = [look_at(path, tree or "", detector)]
    else:
        looks = [look_at(path, name, detector) for name in names]
    best = max(looks, key=lambda look: (bool(look.responses), look.entries))
    if best.entries == 0:
        raise InputError(f"{path}: tree '{best.tree}' has no entries; give another file or --tree")
    others = [(look.tree, look.entries) for look in looks if look is not best]
    return replace(best, others=others)


def identity(paths: Sequence[str], look: Look) -> tuple[list[str], str]:
    """Branches that together tell all entries of all files apart, or none, and the reason."""
    ranked = [(identity_order(b.name), b.name) for b in look.branches if b.scalar and b.integer]
    names = [name for _, name in sorted((o, n) for o, n in ranked if o is not None)]
    if not names:
        return [], "no branch looks like the number of a run or event; file and entry are taken"
    seen = []
    for path in paths:
        with open_ntuple(path, look.tree) as table:
            for _, columns in read_ntuple(path, table, names, MEMORY):
                seen.append(combine(*(columns[name] for name in names)))
    count = sum(map(len, seen))
    if len(np.unique(np.concatenate(seen))) < count:
        return [], f"{', '.join(names)} do not tell all entries apart; file and entry are taken"
    return names, f"different in all {count} entries"


def _check_paths(paths: Sequence[str], out: Path) -> None:
    """Refuse, before anything is read, what cannot be named in a study, and an ``out`` that is there."""
    for path in paths:
        if any(sign in path for sign in MEANT):
            raise InputError(
                f"{one_line(path)}: {' '.join(MEANT)} mean something to Snakemake; rename the file"
            )
        try:
            path.encode()
        except UnicodeEncodeError:
            raise InputError(f"{one_line(path)}: the path is not UTF-8; rename the file") from None
    if out.exists() or out.is_symlink():
        raise SosieError(f"{out}: is there already; give another file with --out, or remove it")


def study_name(path: str) -> str:
    """The name of a study from that of a file, of the characters that it may have."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", Path(path).stem).strip("-_") or "study"


def summary(look: Look, out: Path) -> list[str]:
    """What was taken and guessed, and what to do next, for the terminal."""
    response = look.response
    lines = [f"tree: {look.tree}, {look.entries} entries in {len(look.files)} file(s)"]
    if response:
        lines.append(f"response: {response.branch.name} [{look.unit.symbol}]")
    taken = (
        f"{n} = {c.expression} {f'[{c.unit.symbol}]' if c.unit.symbol else ''}".strip()
        for n, c in look.conditions.items()
    )
    lines.append(f"conditions: {', '.join(taken) or 'none'}")
    lines.append(f"identity: {', '.join(look.identity) or 'file and entry'}")
    if look.guesses:
        lines.append(f"guessed, check: {', '.join(look.guesses)}")
    lines += [
        f"study file: {out}",
        f"next: snakemake --cores 2 all --configfile {shlex.quote(str(out))}",
    ]
    return list(map(one_line, lines))


def run(
    paths: Sequence[str], out: str | None, *, detector: str, tree: str | None = None
) -> list[str]:
    """Write a study for some ROOT files of one kind, and return what to say of it.

    Without ``out`` it is config/<name of the first file>.yaml. Raises SosieError where that is
    there already, InputError for files that cannot be read and, once the file is written,
    where a part of it could not be found.
    """
    paths = list(dict.fromkeys(paths))
    place = Path(out) if out else Path("config") / f"{study_name(paths[0])}.yaml"
    _check_paths(paths, place)
    look = choose(paths[0], tree, find(detector))
    needed = [look.response.branch.name] if look.response else []
    needed += [condition.branch.name for condition in look.conditions.values()]
    entries = look.entries
    for path in paths[1:]:
        with open_ntuple(path, look.tree) as table:
            check_branches(path, table, needed)
            entries += int(table.num_entries)
    names, remark = identity(paths, look)
    look = replace(
        look,
        files=[glob.escape(path) for path in paths],
        entries=entries,
        identity=names,
        identity_remark=remark,
    )
    write_text(place, study_text(look, study_name(str(place))))
    problems = []
    if look.missing:
        there = ", ".join(branch.name for branch in look.branches) or "none"
        problems.append(
            f"{paths[0]}: nothing found for {', '.join(look.missing)} in tree '{look.tree}'; branches there: "
            f"{there}; complete {place}"
        )
    if look.response and look.response.negative:
        problems.append(
            f"{paths[0]}: branch '{look.response.branch.name}' is negative in "
            f"{share(look.response.negative)} of the entries; mend the ntuple, or give ingest.selection in {place}"
        )
    if problems:
        raise InputError("\n".join(map(one_line, problems)))
    return summary(look, place)
