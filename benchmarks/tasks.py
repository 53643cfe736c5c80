"""What is measured, each time in a process of its own: ``tasks.py TASK ARGUMENTS CPU...``.

A task imports and prepares, and returns what is timed. It prints wall time, processor time and peak
memory as JSON.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any


def _leave_out(parts: Sequence[str]) -> None:
    """Take parts of the writing out of ingest, to see what they cost; no setting does that."""
    from sosie import chunks, events, reading

    if "compression" in parts:
        same = SimpleNamespace(compress=lambda raw, level: raw)
        chunks.cramjam = SimpleNamespace(zstd=same)
        events.FILTERS = {k: v for k, v in events.FILTERS.items() if "compression" not in k}
    if "checksums" in parts:
        events.slab_digest = lambda slab: "0" * 32
        reading.file_digest = str
        events.FILTERS = {k: v for k, v in events.FILTERS.items() if k != "fletcher32"}
        chunks.fletcher32 = lambda frame: 0
        pack = events.pack
        events.pack = lambda rows, length: pack(rows, length)[:-4]
    if "reading back" in parts:
        events.EventWriter.verify = lambda writer, path: None


def bare(files: Sequence[str], tree: str, branches: Sequence[str], step: int) -> Callable[[], Any]:
    """A loop over branches of some files that does nothing with them."""
    import uproot

    def loop() -> None:
        for _ in uproot.iterate(dict.fromkeys(files, tree), branches, step_size=step, library="np"):
            pass

    return loop


def ingest(
    files: Sequence[str],
    out: str,
    layout: Mapping[str, Any],
    without: Sequence[str] = (),
    **settings: Any,
) -> Callable[[], Any]:
    """The step ingest, perhaps without some parts of its writing."""
    from sosie import ingest as step
    from sosie.layouts import Layout

    _leave_out(without)
    return partial(step.run, files, out, layout=Layout.from_dict(layout), **settings)


def generate(surrogate: str, conditions: str, out: str, batch: int) -> Callable[[], Any]:
    """The step generate with one member."""
    from sosie import generate as step
    from sosie.surrogates import load

    load(surrogate)  # imports what its kind needs
    return partial(step.run, [surrogate], conditions, [out], seed=1, batch=batch)


def moments(
    reference: str, generated: Sequence[str], reconstruct: str, out: str, **settings: Any
) -> Callable[[], Any]:
    """The step moments."""
    from sosie import moments as step

    inputs = {"reconstruct": reconstruct, "seed": 1}
    return partial(step.run, reference, generated, out, **inputs, **settings)


def reconstruct(
    reference: str, generated: Sequence[str], calibration: str, out: str, **settings: Any
) -> Callable[[], Any]:
    """The step reconstruct."""
    from sosie import reconstruct as step

    return partial(step.run, reference, generated, calibration, out, seed=1, **settings)


TASKS: dict[str, Callable[..., Callable[[], Any]]] = {
    "bare": bare,
    "ingest": ingest,
    "generate": generate,
    "moments": moments,
    "reconstruct": reconstruct,
}


def main() -> None:
    """Run one task on the processors given."""
    name, arguments, *cpus = sys.argv[1:]
    os.sched_setaffinity(0, set(map(int, cpus)))
    task = TASKS[name](**json.loads(arguments))
    wall, processor = time.perf_counter(), time.process_time()
    task()
    seconds, busy = time.perf_counter() - wall, time.process_time() - processor
    from sosie.machine import peak_memory

    print(json.dumps({"seconds": seconds, "cpu_seconds": busy, "peak_mb": peak_memory()}))


if __name__ == "__main__":
    main()
