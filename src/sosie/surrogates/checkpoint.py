"""The checkpoint of a training, as arrays with digests: nothing in it can execute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sosie.arrays import read_arrays, write_arrays
from sosie.errors import IntermediateError
from sosie.progress import say, warn

if TYPE_CHECKING:
    from sosie.surrogates.training import Training

KIND = "checkpoint"


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
    kept = ("done", "updates", "halvings", "seconds", "best_distance", "curves")
    about = {name: getattr(module, name) for name in kept}
    about["spent"] = module.task.clock.seconds
    write_arrays(path, KIND, arrays, about)


def read_checkpoint(path: Path, module: Training) -> None:
    """Take up a training where its checkpoint left it, or leave the module as it is."""
    if not path.exists():
        return
    try:
        arrays, about = read_arrays(path, KIND, "train")
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        _check_shapes(path, module, tensors)
    except IntermediateError as error:
        warn("train", f"{error}; the training starts anew")
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


def _check_shapes(path: Path, module: Training, tensors: dict[str, Tensor]) -> None:
    """Raise IntermediateError for the checkpoint of other networks, before any of it is taken."""
    for name in module.networks:
        wanted = {n: t.shape for n, t in getattr(module, name).state_dict().items()}
        if {n: t.shape for n, t in _below(name, tensors).items()} != wanted:
            raise IntermediateError(f"{path}: refused: its '{name}' is another network")


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
