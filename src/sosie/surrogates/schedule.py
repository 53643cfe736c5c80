"""How long a training goes on, and its learning rate on the way: pure functions of settings and curves."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sosie.errors import SettingsError

FLAT = 0.2  # share of the training at the full learning rate
LEAST = 0.03  # what is left of it at the end


def rate_factor(progress: float, schedule: str = "linear") -> float:
    """Factor on the learning rate for progress from 0 to 1: one, then down as the schedule says.

    linear: in a straight line; cosine: along half a period; constant: not at all.
    """
    if schedule == "constant" or progress < FLAT:
        return 1.0
    left = (1 - progress) / (1 - FLAT)
    if schedule == "cosine":
        left = (1 - math.cos(math.pi * max(0.0, left))) / 2
    return max(LEAST, left)


def progress(settings: Mapping[str, Any], done: int, seconds: float) -> float:
    """Share of the training that is done: of its epochs or of its budget, whichever is larger."""
    epochs, budget = done / int(settings["epochs"]), settings.get("budget")
    return epochs if budget is None else max(epochs, seconds / (60 * budget))


def is_stale(settings: Mapping[str, Any], curves: Sequence[Mapping[str, float]]) -> bool:
    """Whether the last epoch was validated, and the best one lies ``patience`` epochs back."""
    patience, found = settings.get("patience"), [row["distance"] for row in curves]
    if patience is None or not found or not math.isfinite(found[-1]):
        return False
    best = min((d, row["epoch"]) for d, row in zip(found, curves, strict=True) if math.isfinite(d))
    return curves[-1]["epoch"] - best[1] >= int(patience)


def check_budget(settings: Mapping[str, Any], epoch: float, validation: float) -> None:
    """Raise SettingsError for a budget that is spent before the first validation.

    epoch, validation: seconds that one of them takes.
    """
    epochs, budget = min(settings["validate_every"], settings["epochs"]), settings["budget"]
    needed = (epochs * epoch + validation) / 60
    if needed > budget:
        raise SettingsError(
            f"train.surrogates: budget: {settings['kind']}: {budget:g} minutes are too short, the first "
            f"validation takes place after about {needed:.3g} minutes (epoch {epochs}); give more, or "
            "lower validate_every or the size of the networks"
        )
