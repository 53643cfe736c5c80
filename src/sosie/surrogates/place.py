"""Where a training runs and in which precision, as arguments of Lightning's trainer."""

from collections.abc import Mapping
from typing import Any

import torch

from sosie.progress import warn


def place(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The device and the precision that the settings ask for, or what there is instead, which is said."""
    asked, there = settings.get("device", "auto"), torch.cuda.is_available()
    if asked == "gpu" and not there:
        warn("train", "device: gpu: there is none that torch sees; goes on with the CPU")
    mixed = settings.get("precision") == "mixed"
    able = there and asked != "cpu" and torch.cuda.is_bf16_supported(including_emulation=False)
    if mixed and not able:
        warn("train", "precision: mixed: needs a GPU with bfloat16; stays full")
    return {
        "accelerator": "cpu" if asked == "gpu" and not there else asked,
        "devices": 1,
        "precision": "bf16-mixed" if mixed and able else "32-true",
    }
