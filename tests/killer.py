"""Runs commands of sosie in children that kill themselves at batches of a training.

python killer.py '[[[[epoch, batch], ...], [argument, ...]], ...]': each command once for each place, where
it must die, and then to its end. The libraries, slow to import, are imported once.
"""

import json
import os
import signal
import sys

import toy
from sosie import cli
from sosie.detectors import DETECTORS
from sosie.surrogates import cramer_training, descent, flow_training, wgan_training
from sosie.surrogates.training import Training

MODULES = wgan_training, cramer_training, flow_training
DRAWS = Training.draws
STEPS = 30
"""Of the fits before the first epoch, at least; they are not what is tested."""


def in_child(command: list[str], place: tuple[int, int] | None) -> int:
    """How a child ended that ran the command, with a kill at a place: (epoch, batch)."""

    def draws(module: Training, batch: int):
        if (module.done, batch) == place:
            os.kill(os.getpid(), signal.SIGKILL)
        return DRAWS(module, batch)

    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 70
    try:
        Training.draws = draws
        code = cli.main(command)
    finally:
        os._exit(code)


def main() -> None:
    DETECTORS["toy"], descent.STEPS = toy.TOY, STEPS
    for places, command in json.loads(sys.argv[1]):
        for place in places:
            if (code := in_child(command, tuple(place))) != -signal.SIGKILL:
                sys.exit(f"{command}: not killed at {place}, ended with {code}")
        if code := in_child(command, None):
            sys.exit(f"{command}: ended with {code}")


if __name__ == "__main__":
    main()
