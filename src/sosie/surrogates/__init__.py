"""The surrogates by kind, and their files."""

from pathlib import Path

from sosie.arrays import read_arrays, write_arrays
from sosie.errors import IntermediateError
from sosie.surrogates.base import Origin, Surrogate
from sosie.surrogates.library import Library
from sosie.surrogates.wgan_gp import WganGp

SURROGATES: dict[str, type[Surrogate]] = {kind.kind: kind for kind in (Library, WganGp)}


def save(path: str | Path, surrogate: Surrogate) -> None:
    """Write a surrogate to a file that stands alone and holds nothing that can execute."""
    about = {
        "surrogate": surrogate.kind,
        "settings": surrogate.settings,
        "origin": surrogate.origin.as_dict(),
    }
    write_arrays(path, "surrogate", surrogate.arrays(), about)


def load(path: str | Path) -> Surrogate:
    """The surrogate in a file; raises IntermediateError for what is damaged or not one."""
    arrays, about = read_arrays(path, "surrogate", "train and ensemble")
    kind = str(about.get("surrogate"))
    if kind not in SURROGATES:
        raise IntermediateError(f"{path}: kind '{kind}' is not one of {', '.join(SURROGATES)}")
    try:
        origin = Origin.from_dict(about["origin"])
        return SURROGATES[kind].from_arrays(origin, about["settings"], arrays)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise IntermediateError(
            f"{path}: not a whole surrogate ({error}); run train again"
        ) from None
