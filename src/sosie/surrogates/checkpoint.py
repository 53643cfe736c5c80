"""The checkpoint of a training, as arrays with digests: nothing in it can execute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sosie.arrays import read_arrays, write_arrays
from sosie.errors import IntermediateError
from sosie.hdf5 import one_line
from sosie.progress import say, warn

if TYPE_CHECKING:
    from sosie.surrogates.training import Training

KIND = "checkpoint"
KEPT = ("done", "updates", "halvings", "seconds", "best_distance", "curves")
MOMENTS = ("exp_avg", "exp_avg_sq")


def write_checkpoint(path: Path, module: Training) -> None:
    """Write networks, averaged and best weights, optimisers and curves at an epoch's end."""
    states = {name: getattr(module, name).state_dict() for name in module.networks}
    states["best"] = module.best
    for index, optimiser in enumerate(module.trainer.optimizers):
        for parameter, state in optimiser.state_dict()["state"].items():
            states[f"optimiser/{index}/{parameter}"] = state
    arrays = {
        f"{name}/{entry}": value.detach().cpu().numpy()
        for name, state in states.items()
        for entry, value in state.items()
    }
    about = {name: getattr(module, name) for name in KEPT}
    about["spent"] = module.task.clock.seconds
    write_arrays(path, KIND, arrays, about)


def read_checkpoint(path: Path, module: Training) -> None:
    """Take up a training where its checkpoint left it, or leave the module as it is."""
    if not path.exists():
        return
    try:
        arrays, about = read_arrays(path, KIND, "train")
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        _check(path, module, tensors, about)
    # What stands in a file of another make may go wrong in any way, in torch too.
    except Exception as error:
        ours = isinstance(error, IntermediateError)
        reason = str(error) if ours else f"{path}: refused: {one_line(error)}"
        warn("train", f"{reason}; the training starts anew")
        return
    for name in module.networks:
        getattr(module, name).load_state_dict(_below(name, tensors))
    module.best = _below("best", tensors)
    module.optimiser_states = _optimisers(_below("optimiser", tensors))
    module.done, module.updates = about["done"], about["updates"]
    module.halvings, module.seconds = about["halvings"], about["seconds"]
    module.task.clock.resume(about["spent"])
    module.best_distance = np.inf if about["best_distance"] is None else about["best_distance"]
    module.curves = [
        {name: np.nan if value is None else value for name, value in row.items()}
        for row in about["curves"]
    ]
    say("train", f"{module.kind}: goes on after epoch {module.done}")


def _check(path: Path, module: Training, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Raise IntermediateError for a checkpoint that lacks something or is that of other networks,
    before any of it is taken."""
    if lacking := [name for name in (*KEPT, "spent") if name not in about]:
        raise IntermediateError(f"{path}: refused: it lacks '{lacking[0]}'")
    wanted = {name: _shapes(getattr(module, name).state_dict()) for name in module.networks}
    validated = any(row["distance"] is not None for row in about["curves"])
    wanted["best"] = wanted["averaged"] if validated else {}
    wanted["optimiser"] = _moments(module, about["updates"])
    for name, shapes in wanted.items():
        found = _shapes(_below(name, tensors))
        if lacking := sorted(shapes.keys() - found.keys()):
            raise IntermediateError(f"{path}: refused: it lacks '{name}/{lacking[0]}'")
        if found != shapes:
            raise IntermediateError(f"{path}: refused: its '{name}' is another network")


def _shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


def _moments(module: Training, updates: int) -> dict[str, torch.Size]:
    """Shapes of all that the optimisers hold at an epoch's end, by name.

    The first one is that of the generator, which may not have made a step yet.
    """
    found: dict[str, torch.Size] = {}
    for index, optimiser in enumerate(module.configure_optimizers()):
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        for place, parameter in enumerate(parameters):
            if parameter.requires_grad and (index or updates):
                found |= {f"{index}/{place}/{name}": parameter.shape for name in MOMENTS}
                found[f"{index}/{place}/step"] = torch.Size([])
    return found


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}/"
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}


def _optimisers(tensors: dict[str, Tensor]) -> list[dict[Any, dict[str, Tensor]]]:
    """The states of the optimisers, each by parameter and entry; none for one that made no step."""
    states: dict[int, dict[Any, dict[str, Tensor]]] = {}
    for name, value in tensors.items():
        index, parameter, entry = name.split("/")
        states.setdefault(int(index), {}).setdefault(int(parameter), {})[entry] = value
    return [states.get(index, {}) for index in range(max(states, default=-1) + 1)]
