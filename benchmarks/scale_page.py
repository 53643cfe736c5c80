"""The page of benchmarks/scale.py, in Markdown, from what was measured."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from page import table

STEPS = ("ingest", "generate", "reconstruct", "moments")
TOLERANCE = 0.1
"""Largest distance from 1 of the power of the number of events with which a time grows."""
MOST_GROWTH = 0.2
"""Growth of peak memory, from the fewest to the most events, that counts as none."""
LARGE, TESTED, CORES = 10**9, 10**7, 1000
"""The estimate: events ingested, test events among them, cores of the cluster."""

Measured = Mapping[int, Mapping[str, Mapping[str, float]]]


def exponent(events: Sequence[int], values: Sequence[float]) -> float:
    """The power p of a straight line log(value) = p log(events) + constant; NaN for one size."""
    if len(events) < 2:
        return math.nan
    return float(np.polyfit(np.log(events), np.log(values), 1)[0])


def _column(found: Measured, step: str, name: str) -> list[float]:
    return [found[events][step][name] for events in sorted(found)]


def measured_table(found: Measured) -> str:
    """Times and peak memory of each step for each number of events."""
    rows = []
    for step in STEPS:
        for events in sorted(found):
            one = found[events][step]
            rows.append(
                [
                    step,
                    str(events),
                    f"{one['seconds']:.1f}",
                    f"{one['cpu_seconds']:.1f}",
                    f"{1e6 * one['cpu_seconds'] / events:.0f}",
                    f"{one['peak_mb']:.0f}",
                ]
            )
    return table(["", "events", "wall s", "CPU s", "CPU µs an event", "peak MB"], rows)


def fitted_table(found: Measured) -> str:
    """The fitted power of each time, and how memory grows."""
    sizes, rows = sorted(found), []
    for step in STEPS:
        cpu, peak = _column(found, step, "cpu_seconds"), _column(found, step, "peak_mb")
        power, growth = exponent(sizes, cpu), peak[-1] / peak[0] - 1
        each = (peak[-1] - peak[-2]) * 1e6 / (sizes[-1] - sizes[-2]) if len(sizes) > 1 else math.nan
        rows.append(
            [
                step,
                f"{power:.2f}",
                f"{exponent(sizes[-2:], cpu[-2:]):.2f}",
                "yes" if abs(power - 1) <= TOLERANCE else "no",
                f"{growth:+.0%}",
                f"{each:.0f}",
                "yes" if growth <= MOST_GROWTH else "no",
            ]
        )
    last = f"the same, {sizes[-2]} to {sizes[-1]}" if len(sizes) > 1 else "the same"
    head = [
        "",
        "CPU time grows with events to the power",
        last,
        f"1 within {TOLERANCE}",
        f"peak memory, {sizes[0]} to {sizes[-1]}",
        "bytes an event of it, last two sizes",
        f"flat within {MOST_GROWTH:.0%}",
    ]
    return table(head, rows)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.3g} h" if seconds >= 3600 else f"{seconds / 60:.3g} min"


def estimate(found: Measured) -> str:
    """What so many events take, from the times of the largest sample measured."""
    most = max(found)
    each = {step: found[most][step]["cpu_seconds"] / most for step in STEPS}
    disk = {step: found[most][step]["bytes"] / most for step in ("ingest", "generate")}
    rows = []
    for step in STEPS:
        events = LARGE if step == "ingest" else TESTED
        jobs = CORES if step == "ingest" else 1
        rows.append(
            [
                step,
                f"{events:.0e}",
                f"{1e6 * each[step]:.0f} µs",
                _hours(each[step] * events),
                str(jobs),
                _hours(each[step] * events / jobs),
            ]
        )
    head = ["", "events", "CPU an event", "CPU in all", "jobs", "CPU a job"]
    whole = sum(each[step] for step in STEPS[1:])
    return f"""{table(head, rows)}

CPU in all is the time an event, as measured with {most} events, times the events; a job has it divided by the jobs. On disk the event tables take
{disk["ingest"]:.0f} bytes an event, {disk["ingest"] * LARGE / 1e12:.2g} TB for {LARGE:.0e}; what a member draws takes {disk["generate"]:.0f} bytes an event
here (the network is not trained and fills more cells than a shower has), {disk["generate"] * TESTED / 1e9:.3g} GB for {TESTED:.0e}. Were all {LARGE:.0e} events test events, generate, reconstruct
and moments would take {_hours(whole * LARGE)} of CPU for each member and sample, in one job each, which is no plan; an error of a moment falls with
the root of the events, and {TESTED:.0e} test events (`ingest.split`) are more than enough."""


def build(machine: Mapping[str, object], found: Measured) -> str:
    """The page."""
    words = ", ".join(f"{name} {value}" for name, value in machine.items())
    return f"""# Time and memory against the number of events

Written by `make benchmark-scale` (`benchmarks/scale.py`). The showers that ship with the project are repeated with new identities in files of at most 50 000;
98 % of the events are test events, so that every step has as many. generate draws from one member of a network of the default study, which is not trained;
reconstruct and moments have that member beside the reference, the bins of the default study and 200 replicas. Each step is a process of its own. Starting Python
and importing are not timed, but are in the peak memory.

The machine had other work to do while this was measured, so that wall times are upper limits; fits and estimates are of CPU times.

Machine: {words}.

{measured_table(found)}

{fitted_table(found)}

Where the power over all sizes is below 1, a fixed part of the time counts for the fewest events; the last two sizes tell. Peak memory has the libraries in it, which are
most of it.

## What is held in memory

Responses are never held but for a piece. What grows with the events:

- ingest: 16 bytes for each 128 responses and 32 for each 1 024 numbers of a column, until a table is written. Identities are compared in a share of the memory, some ranges of them after
  the other.
- generate: 5 bytes an event, zone and distance to the training sample. From or to ROOT files, and with `--repeat`, all conditions.
- moments: no array of the events; equally filled bins come from passes over the conditions. What the table shows beyond the digests of the slabs, about 2 bytes an event and table, is not explained.
- reconstruct: of one bin at a time (of as many as fit into 1/64 of `memory`) 32 bytes a result and sample, and 32 an event; of the pairs 16 bytes, and 32 a result and 32 more of one bin of
  distance. Results of all events lie in a file without a name beside the output. A bin that does not fit, even of one sample alone, is refused with a line that says so. The results of a command of
  the user's own are held, and for detectors with rates, ROC curves or groups (`rich`, `tpc`) counts and products of all events, 12 bytes a replica and event.
- compare: observables and results of all samples; of more test events than fit some are drawn. preprocess and train hold the training sample.

## {LARGE:.0e} events on a cluster of {CORES} cores

{estimate(found)}

ingest has a job for each {LARGE // CORES:.0e} events (`ingest.files_per_job`), and one that merges: it reads the identities, 8 bytes an event, once for each {2_000_000_000 // 4 // 24:.1e} of them
with `memory: 2000`, {math.ceil(24 * LARGE / 500_000_000)} times {8 * LARGE / 1e9:.0f} GB, and copies nothing. reconstruct of {TESTED:.0e} test events with 3 results in 6 bins gathers of each sample
{TESTED:.0e} / 6 x 32 x (3 + 1) bytes = {TESTED / 6 * 128 / 1e6:.0f} MB at a time.
"""
