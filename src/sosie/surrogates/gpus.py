"""Which GPU a training takes where a machine has several: one that no other training of ours holds."""

import socket
import time
from collections.abc import Sequence

import torch

from sosie.progress import say

PAUSE = 1.0  # seconds between two looks for a GPU that has become free

held: list[socket.socket] = []


def hold(name: str) -> socket.socket | None:
    """A hold on a name that no other process of this machine has; None if one has it.

    It is an abstract Unix socket, which goes with the process, however that ends (unix(7)).
    """
    mine = socket.socket(socket.AF_UNIX)
    try:
        mine.bind(f"\0{name}")
    except OSError:
        mine.close()
        return None
    return mine


def take(names: Sequence[str], pause: float = PAUSE) -> int:
    """The index of the first name that is free, held until this process ends; waits for one."""
    waits = False
    while True:
        for index, name in enumerate(names):
            if mine := hold(f"sosie-gpu-{name}"):
                held.append(mine)
                return index
        if not waits:
            say("train", f"waits for one of {len(names)} GPUs: each has a training")
        waits = True
        time.sleep(pause)


def visible() -> list[str]:
    """Identities of the GPUs that torch sees, in its order."""
    count = torch.cuda.device_count()
    return [str(torch.cuda.get_device_properties(index).uuid) for index in range(count)]
