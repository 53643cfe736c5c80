"""What is measured, each time in a process of its own: ``tasks.py TASK ARGUMENTS CPU...``.

A task imports and prepares, and returns what is timed. It prints wall time, processor time and peak
memory as JSON.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any


def _leave_out(parts: Sequence[str]) -> None:
    """Take parts of the writing out of ingest, to see what they cost; no setting does that."""
    import h5py

    from sosie import events, reading

    dropped: set[str] = set()
    if "compression" in parts:
        dropped |= {"compression", "compression_opts"}
    if "checksums" in parts:
        dropped.add("fletcher32")
        events.slab_digest = lambda slab: "0" * 64
        reading.file_digest = str
    if "reading back" in parts:
        events.verify = lambda path: None
    create = h5py.Group.create_dataset

    def plain(group: h5py.Group, name: str, **options: Any) -> h5py.Dataset:
        return create(group, name, **{k: v for k, v in options.items() if k not in dropped})

    if dropped:
        h5py.Group.create_dataset = plain


def bare(files: Sequence[str]) -> Callable[[], Any]:
    """uproot.iterate over the branches that ingest reads, in steps as large as its pieces."""
    import uproot
    from inputs import ingest_settings, layout

    from sosie.detectors import find
    from sosie.ntuples import open_ntuple, pieces

    names, tree, own = layout().branches(), layout().tree, ingest_settings()
    with open_ntuple(files[0], tree) as table:
        cells = 4 * int(np_prod(find(own["detector"]).shape))
        step = next(pieces(files[0], table, names, own["memory"], cells))[1]

    def loop() -> None:
        for _ in uproot.iterate(
            dict.fromkeys(files, tree), names, step_size=step, library="np"
        ):
            pass

    return loop


def ingest(
    files: Sequence[str], out: str, threads: int, without: Sequence[str] = ()
) -> Callable[[], Any]:
    """The step ingest, perhaps without some parts of its writing."""
    from inputs import ingest_settings

    from sosie import ingest as step

    _leave_out(without)
    return partial(step.run, files, out, threads=threads, **ingest_settings())


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
