"""What the names and titles of an ntuple say: which branch is which condition, and in what unit."""

import re
from collections.abc import Iterable, Sequence

from sosie.errors import SettingsError
from sosie.expressions import branches
from sosie.units import UNITS

WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
PART = re.compile(r"[^A-Za-z0-9]+")
# Words that say whose the number is, not what it is.
OWNERS = {"particle", "mc", "gen", "true", "truth", "f", "primary", "prim", "incident", "incoming"}
OWNERS |= {"beam", "sim", "track", "trk", "brunel", "probe"}
SYMBOLS = sorted({unit for known in UNITS.values() for unit in known}, key=len, reverse=True)
# A lone m or s is a word of other meanings unless it stands in brackets or behind a slash.
UNIT = re.compile(
    rf"(?<![\w*])({'|'.join(unit for unit in SYMBOLS if len(unit) > 1)})(?![A-Za-z0-9_])"
    r"|[\[(/](m|s)(?=[\])]|$)"
)
LEAF = re.compile(r"(\[\w+\])*/[A-Za-z]$")

AXES = "xyz"
ENTRY = ("", "entry", "point", "position", "pos", "entrance", "impact", "vertex", "vtx", "v", "xyz")
MOMENTUM = ("p", "momentum", "mom", "pxyz")
# Names of a condition, the likeliest first, in lower case and without signs between the words.
SYNONYMS: dict[str, tuple[str, ...]] = {
    **{a: tuple(word + a for word in ENTRY) + tuple(a + w for w in ENTRY[1:]) for a in AXES},
    **{f"p{a}": tuple(word + a for word in MOMENTUM) for a in AXES},
    "pdg": ("pdg", "pdgid", "pdgcode", "pid", "particleid"),
    "p": ("p", "momentum", "mom", "ptot", "pmag", "pabs"),
    "momentum": ("p", "momentum", "mom", "ptot", "pmag", "pabs"),
    "spd": ("spd", "spdhits", "nspdhits", "nspd"),
    "pt": ("pt", "ptrans"),
    "e": ("e", "energy", "etot", "ekin", "kineticenergy", "einc"),
    "theta": ("theta", "polar", "polarangle"),
    "phi": ("phi", "azimuth", "azimuthalangle"),
    "eta": ("eta", "pseudorapidity"),
    "tx": ("tx", "slopex", "dxdz"),
    "ty": ("ty", "slopey", "dydz"),
}
# What the title of a tree may call them together.
TOGETHER = {"p": ("p", "momentum", "momenta"), "": ("position", "positions", "point", "length")}

RUN = re.compile(r"(run|subrun|lumi\w*|seed|spill|job|file)(_?(id|number|nr|no|num))?")
EVENT = re.compile(r"(event|evt|evnt|entry|shower)(_?(id|number|nr|no|num))?")
WEIGHT = re.compile(r"\w*(weight|wgt|sweight)s?|w")
RESPONSE = ("energy", "edep", "dep", "deposit", "response", "amplitude", "signal", "adc", "charge")
CELL = ("cell", "channel", "index", "id", "chan")


def words(name: str) -> list[str]:
    """The words of a name in lower case: ParticlePoint_x -> particle, point, x."""
    return [word.lower() for part in PART.split(name) for word in WORD.findall(part)]


def _parts(name: str) -> tuple[str, str]:
    """A name without a unit at its end, and this unit, '' where there is none."""
    *rest, last = [part for part in PART.split(name) if part] or [""]
    known = {unit.lower(): unit for unit in SYMBOLS}
    unit = known.get(last.lower(), "")
    return ("_".join(rest), unit) if rest and unit else (name, "")


def likeness(name: str, element: str, condition: str) -> tuple[int, int] | None:
    """How well a branch fits a condition, the smallest best, None where it does not.

    ``element`` is the axis for which an element of an array stands, '' for a number.
    """
    found = words(_parts(name)[0])
    whole = "".join(found) + element
    short = "".join(word for word in found if word not in OWNERS) + element
    names = SYNONYMS.get(condition, ("".join(words(condition)),))
    for owned, text in enumerate((whole, short)):
        if text in names:
            return names.index(text), owned
    return None


def is_weight(name: str) -> bool:
    """Whether a name is that of an event weight."""
    return bool(WEIGHT.fullmatch(name.lower()))


def identity_order(name: str) -> int | None:
    """0 for the number of a run, 1 for that of an event, None for another name."""
    plain = "_".join(words(name))
    return 0 if RUN.fullmatch(plain) else 1 if EVENT.fullmatch(plain) else None


def hints(name: str, known: Sequence[str]) -> bool:
    """Whether one of the words of a name is among those known."""
    return any(word in known for word in [*words(name), name.lower()])


def usable(expression: str, names: Iterable[str]) -> bool:
    """Whether an expression can be written with just these branches: not with a name as 'on: #x'."""
    try:
        return set(branches(expression)) == set(names)
    except SettingsError:
        return False


def _first_unit(text: str, valid: Iterable[str]) -> str:
    found = (match[1] or match[2] for match in UNIT.finditer(text))
    return next((unit for unit in found if unit in valid), "")


def named_unit(
    name: str, title: str, table_title: str, valid: Iterable[str], condition: str = ""
) -> tuple[str, str]:
    """The unit that the name, the title of the branch or of the tree gives, and which of them.

    Both '' where none does. In the title of a tree it is the first unit behind the name, up to
    a semicolon: 'p, e_kin GeV; x, y, z cm'.
    """
    valid = frozenset(valid)
    if (unit := _parts(name)[1]) in valid:
        return unit, "its name"
    title = LEAF.sub("", title)
    if unit := _first_unit(title.removeprefix(name), valid):
        return unit, "title of the branch"
    together = TOGETHER.get(condition[:-1], ()) if condition[-1:] in AXES else ()
    for word in (name, *together):
        pattern = re.compile(rf"(?<![\w.]){re.escape(word)}(?![\w.])")
        for clause in re.split(r"[;\n]", table_title):
            listed = re.findall(r"\w*\*", clause)
            start = pattern.search(clause)
            wild = next((w for w in listed if word == name and name.startswith(w[:-1])), "")
            begin = start.end() if start else clause.index(wild) if wild else -1
            if begin >= 0 and (unit := _first_unit(clause[begin:], valid)):
                return unit, "title of the tree"
    return "", ""
