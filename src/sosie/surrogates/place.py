"""Where a training runs and in which precision, as arguments of Lightning's trainer."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from pytorch_lightning.plugins.environments import LightningEnvironment

from sosie.progress import warn
from sosie.surrogates.gpus import take, visible


@cache
def _gpu() -> int:
    """The GPU of this process, the same for all its trainings; of several, one that is free."""
    names = visible()
    return take(names) if len(names) > 1 else 0


def place(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The device and the precision that the settings ask for, or what there is instead, which is said.

    A training is one process on one device, in a SLURM job too. Lightning must not take the job for
    one of its own: it would requeue it, while Snakemake retries it.
    """
    asked, there = settings.get("device", "auto"), torch.cuda.is_available()
    if asked == "gpu" and not there:
        warn("train", "device: gpu: there is none that torch sees; goes on with the CPU")
    mixed = settings.get("precision") == "mixed"
    able = there and asked != "cpu" and torch.cuda.is_bf16_supported(including_emulation=False)
    if mixed and not able:
        warn("train", "precision: mixed: needs a GPU with bfloat16; stays full")
    return {
        "accelerator": "cpu" if asked == "gpu" and not there else asked,
        "devices": [_gpu()] if there and asked != "cpu" else 1,
        "precision": "bf16-mixed" if mixed and able else "32-true",
        "plugins": [LightningEnvironment()],
    }
