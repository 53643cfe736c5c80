"""The surrogates by kind, and their files."""

from collections.abc import Callable
from pathlib import Path

from sosie.arrays import read_arrays, write_arrays
from sosie.domain import KIND as DOMAIN
from sosie.domain import Domain
from sosie.errors import IntermediateError
from sosie.hdf5 import one_line
from sosie.surrogates.base import Origin, Surrogate
from sosie.surrogates.external import External
from sosie.surrogates.kde import Kde
from sosie.surrogates.library import Library, Mix
from sosie.surrogates.parametric import Parametric
from sosie.surrogates.parts import Parts


def _library() -> type[Surrogate]:
    return Library


def _mix() -> type[Surrogate]:
    return Mix


def _wgan_gp() -> type[Surrogate]:
    # torch takes seconds to import, and a library needs none.
    from sosie.surrogates.wgan_gp import WganGp

    return WganGp


def _gan() -> type[Surrogate]:
    from sosie.surrogates.gan import Gan

    return Gan


def _cramer_gan() -> type[Surrogate]:
    from sosie.surrogates.cramer_gan import CramerGan

    return CramerGan


def _flow_matching() -> type[Surrogate]:
    from sosie.surrogates.flow_matching import FlowMatching

    return FlowMatching


def _flow() -> type[Surrogate]:
    from sosie.surrogates.flow import Flow

    return Flow


def _vae() -> type[Surrogate]:
    from sosie.surrogates.vae import Vae

    return Vae


def _diffusion() -> type[Surrogate]:
    from sosie.surrogates.diffusion import Diffusion

    return Diffusion


def _one_step() -> type[Surrogate]:
    from sosie.surrogates.one_step import OneStep

    return OneStep


def _external() -> type[Surrogate]:
    return External


def _kde() -> type[Surrogate]:
    return Kde


def _parametric() -> type[Surrogate]:
    return Parametric


SURROGATES: dict[str, Callable[[], type[Surrogate]]] = {
    "library": _library,
    "mix": _mix,
    "wgan_gp": _wgan_gp,
    "gan": _gan,
    "cramer_gan": _cramer_gan,
    "flow_matching": _flow_matching,
    "flow": _flow,
    "vae": _vae,
    "diffusion": _diffusion,
    "one_step": _one_step,
    "kde": _kde,
    "external": _external,
    "parametric": _parametric,
}


def save(path: str | Path, surrogate: Surrogate) -> None:
    """Write a surrogate, with its domain, to a file that stands alone and holds nothing that can execute."""
    about = {
        "surrogate": surrogate.kind,
        "settings": surrogate.settings,
        "origin": surrogate.origin.as_dict(),
    }
    arrays = surrogate.arrays()
    if surrogate.domain is not None:
        arrays = arrays | {f"{DOMAIN}/{name}": a for name, a in surrogate.domain.arrays().items()}
    write_arrays(path, "surrogate", arrays, about)


def load(path: str | Path) -> Surrogate:
    """The surrogate in a file; raises IntermediateError for what is damaged or not one."""
    arrays, about = read_arrays(path, "surrogate", "train and ensemble")
    kind = str(about.get("surrogate"))
    if kind not in SURROGATES:
        raise IntermediateError(
            f"{path}: refused: kind '{kind}' is not one of {', '.join(SURROGATES)}; "
            "run train and ensemble again to make it"
        )
    try:
        origin = Origin.from_dict(about["origin"])
        settings = about["settings"]
        place = f"{DOMAIN}/"
        where = {n.removeprefix(place): a for n, a in arrays.items() if n.startswith(place)}
        own = {name: a for name, a in arrays.items() if not name.startswith(place)}
        made = Parts if settings.get("separate") else SURROGATES[kind]()
        surrogate: Surrogate = made.from_arrays(origin, settings, own)
        if where:
            scaling = origin.transform.features
            surrogate.domain = Domain.from_arrays(origin.detector, scaling, where)
        return surrogate
    # What stands in a file of another make may go wrong in any way, in torch too.
    except Exception as error:
        raise IntermediateError(
            f"{path}: not a whole surrogate ({one_line(error)}); run train and ensemble again"
        ) from None
