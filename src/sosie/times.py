"""times: what a member costs: its size, and the time of an event at several batch sizes."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from sosie.bootstrap import CENTRAL
from sosie.events import open_events
from sosie.files import read_json, write_json
from sosie.generate import draw
from sosie.machine import accelerator, peak_memory, processor
from sosie.progress import say
from sosie.streams import stream
from sosie.surrogates import Surrogate, load

Array = np.ndarray[Any, Any]
BATCHES = (1, 100, 10_000)
SECONDS = 3.0
"""What the repetitions of one batch size may take, one draw a third of it."""
GROWTH = 4
"""Times the events of a draw before."""
LEAST, MOST = 3, 30
"""Repetitions."""


def size_of(arrays: Mapping[str, Array]) -> dict[str, float]:
    """Parameters of the networks, events that are kept, and megabytes of all arrays of a surrogate."""
    last = {name: name.split("/") for name in arrays}
    return {
        "parameters": sum(a.size for name, a in arrays.items() if "weights" in last[name][:-1]),
        "stored_events": sum(len(a) for n, a in arrays.items() if last[n][-1] == "response"),
        "megabytes": sum(array.nbytes for array in arrays.values()) / 1e6,
    }


def measure(
    sample: Callable[[Array], object],
    conditions: Array,
    batch: int,
    now: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Milliseconds an event of ``sample`` on ``batch`` of the conditions (N, C), in turn.

    The median of the repetitions and the ends of their central 68 %. The draws before, which are
    not counted, grow from one event on until they are the batch or take a third of SECONDS: so
    what is slow draws fewer events, whose number is in the result.
    """

    def once(number: int, events: int) -> float:
        rows = (np.arange(events) + number * events) % len(conditions)
        some = conditions[rows]
        start = now()
        sample(some)
        return now() - start

    events = 1
    while once(0, events) * GROWTH <= SECONDS / 3 and events < batch:
        events = min(batch, GROWTH * events)
    seconds: list[float] = []
    while len(seconds) < LEAST or (len(seconds) < MOST and sum(seconds) < SECONDS):
        seconds.append(once(len(seconds), events))
    each = np.array(seconds) * 1e3 / events
    low, middle, high = np.quantile(each, [(1 - CENTRAL) / 2, 0.5, (1 + CENTRAL) / 2])
    return {
        "batch": batch,
        "events": events,
        "repetitions": len(seconds),
        "milliseconds": float(middle),
        "low": float(low),
        "high": float(high),
        "peak_memory_mb": peak_memory(),
    }


def on_device(
    surrogate: Surrogate, conditions: Array, seed: int, now: Callable[[], float]
) -> list[dict[str, float]]:
    """The measurement of each batch size, small ones first, so that the peak memory is its own."""
    rng = stream(seed, "times", surrogate.kind)
    return [
        measure(lambda some: draw(surrogate, some, rng), conditions, batch, now)
        for batch in BATCHES
    ]


def run(
    surrogate: str, conditions: str, out: str, *, seed: int, full_simulation: float | None
) -> None:
    """Measure a member on one thread, and on the GPU where there is one, and write it as JSON.

    Of an external sample there is nothing to measure, and its list is empty. ``conditions``: an
    event table. Raises IntermediateError for files that are no such.
    """
    member = load(surrogate)
    with open_events(conditions) as events:
        asked = events.column("conditions")
    found: dict[str, Any] = {
        "kind": member.kind,
        **size_of(member.arrays()),
        "full_simulation": full_simulation,
        "processor": processor(),
        "threads": 1,
    }
    # What only looks up responses that others made has no time of its own.
    found["cpu"] = []
    with threadpool_limits(1):
        if member.anywhere:
            # On one thread, that of an idle machine: jobs beside this one do not count.
            found["cpu"] = on_device(member, asked, seed, time.process_time)
        if found["cpu"] and (gpu := accelerator()) and member.move("cuda"):
            found["gpu"] = {
                "device": gpu,
                "batches": on_device(member, asked, seed, time.perf_counter),
            }
    write_json(out, found)
    shown = [f"{one['milliseconds']:.3g} ms at {one['batch']}" for one in found["cpu"]]
    say("generate", f"{out}: {', '.join(shown)}")


def runs_of(settings: Mapping[str, Any], members: int) -> int:
    """Trainings behind so many members of a surrogate: one of all, or one of each."""
    return 1 if settings.get("method", "dropout_masks") == "dropout_masks" else members


def read_costs(folder: Path, name: str, runs: int) -> dict[str, Any]:
    """What training and drawing of a surrogate took; raises IntermediateError.

    The seconds of training are those of all runs, the memory that of the largest.
    """
    each = [
        read_json(folder / f"times/train/{name}/{run}.json", "train", ["seconds"])
        for run in range(runs)
    ]
    most = {
        "seconds": sum(one["seconds"] for one in each),
        "peak_memory_mb": max(one["peak_memory_mb"] for one in each),
    }
    return {
        "training": {**each[0], **most},
        "drawing": read_json(folder / f"times/generate/{name}.json", "generate", ["cpu"]),
    }
