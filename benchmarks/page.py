"""The page of the benchmarks, in Markdown, from what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

# The targets. Ratios to the bare loop, ratios of peak memory, and milliseconds a shower.
LEAST_ONE_CORE = 0.3
LEAST_TWO_CORES = 0.6
MOST_MEMORY_CHANGE = 0.2
MOST_GENERATE_MS = 0.5
FULL_SIMULATION_MS = 240.0
"""An average shower on one core, as the Geant4 sample took (resources/ecal/README.md)."""

BARE = "bare `uproot.iterate`"
PLAIN = f"{BARE}, ROOT files not compressed"
AS_IS = "ingest"
TWO = "ingest in two threads, on two cores"
TWICE = f"{BARE}, on each of two cores at once"
PARTS = ("compression", "checksums", "reading back")

Measured = Mapping[str, float]


@dataclass(frozen=True)
class Sizes:
    """Files, showers and MB that ingest reads; few and many events; showers that are drawn."""

    files: int
    showers: int
    megabytes: float
    few: int
    many: int
    drawn: int


def without(part: str) -> str:
    """Name of the row of ingest without a part of its writing."""
    return f"{AS_IS} without {part}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the first column is text, the others are numbers."""
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def verdict(met: bool) -> str:
    """Whether a target was met, in a word."""
    return "met" if met else "missed"


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median with the least and the largest value."""
    low, high = min(values), max(values)
    return f"{median(values):.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def ratios(rows: Mapping[str, Sequence[Measured]], name: str) -> list[float]:
    """Throughput of a row over that of the bare loop of the same repetition."""
    pairs = zip(rows[BARE], rows[name], strict=True)
    return [bare["seconds"] / own["seconds"] for bare, own in pairs]


def ingest_table(rows: Mapping[str, Sequence[Measured]], showers: int, megabytes: float) -> str:
    """Times and throughput of each row, over its repetitions."""
    lines = []
    for name, found in rows.items():
        seconds = [one["seconds"] for one in found]
        lines.append(
            [
                name,
                spread(seconds),
                f"{median(one['cpu_seconds'] for one in found):.2f}",
                f"{showers / median(seconds):.0f}",
                f"{megabytes / median(seconds):.0f}",
                spread(ratios(rows, name)),
            ]
        )
    head = ["", "wall s", "CPU s", "showers/s", "MB/s", "throughput / bare"]
    return table(head, lines)


def change(pair: Sequence[Measured]) -> float:
    """Peak memory for many events over that for few."""
    few, many = pair
    return many["peak_mb"] / few["peak_mb"]


def same(pair: Sequence[Measured]) -> bool:
    """Whether peak memory is the same within the limit."""
    return abs(change(pair) - 1) <= MOST_MEMORY_CHANGE


def memory_table(rows: Mapping[str, Sequence[Measured]], few: int, many: int) -> str:
    """Peak memory of each row for few and for many events."""
    lines = [
        [
            name,
            *(f"{one['peak_mb']:.0f}" for one in pair),
            f"{change(pair):.2f}",
            verdict(same(pair)),
        ]
        for name, pair in rows.items()
    ]
    return table(["", f"MB, {few} events", f"MB, {many} events", "ratio", "same"], lines)


def milliseconds(found: Sequence[Measured], showers: int, key: str = "seconds") -> list[float]:
    """Milliseconds a shower of each repetition."""
    return [1000 * one[key] / showers for one in found]


def generate_table(found: Sequence[Measured], showers: int) -> str:
    """Time a shower, and how much faster than full simulation that is."""
    wall, cpu = milliseconds(found, showers), milliseconds(found, showers, "cpu_seconds")
    row = [spread(wall, 3), spread(cpu, 3), f"{FULL_SIMULATION_MS / median(wall):.0f}"]
    head = ["wall ms a shower", "CPU ms a shower", "full simulation / this"]
    return table(["", *head], [["one GAN member", *row]])


def targets(
    ingest: Mapping[str, Sequence[Measured]],
    memory: Mapping[str, Sequence[Measured]],
    generate: Sequence[Measured],
    showers: int,
) -> str:
    """Each target, what was measured and whether it was met."""
    one, two = (median(ratios(ingest, name)) for name in (AS_IS, TWO))
    worst = max(memory, key=lambda name: abs(change(memory[name]) - 1))
    ratio = change(memory[worst])
    drawn = median(milliseconds(generate, showers))
    grown = f"peak memory, many events / few (worst: {worst})"
    rows: list[tuple[str, str, float, bool]] = [
        ("ingest, one core / bare loop", f"at least {LEAST_ONE_CORE:g}", one, one >= LEAST_ONE_CORE),
        ("ingest, two / bare loop on one", f"at least {LEAST_TWO_CORES:g}", two, two >= LEAST_TWO_CORES),
        (grown, f"1, within {MOST_MEMORY_CHANGE:.0%}", ratio, same(memory[worst])),
        ("generate, ms a shower", f"at most {MOST_GENERATE_MS:g}", drawn, drawn <= MOST_GENERATE_MS),
    ]  # fmt: skip
    found = [[what, target, f"{value:.2f}", verdict(met)] for what, target, value, met in rows]
    return table(["", "target", "measured", ""], found)


def costs(rows: Mapping[str, Sequence[Measured]]) -> str:
    """What each part of the writing takes of the processor time of ingest, in words."""
    whole = median(one["cpu_seconds"] for one in rows[AS_IS])
    shares = [
        f"{part} {1 - median(one['cpu_seconds'] for one in rows[without(part)]) / whole:.0%}"
        for part in PARTS
    ]
    return ", ".join(shares)


def build(
    machine: Mapping[str, Any],
    ingest: Mapping[str, Sequence[Measured]],
    memory: Mapping[str, Sequence[Measured]],
    generate: Sequence[Measured],
    overhead: str,
    sizes: Sizes,
) -> str:
    """The whole page."""
    repeats = len(generate)
    about = ", ".join(f"{name} {value}" for name, value in machine.items())
    return f"""# Benchmarks

Written by `make benchmark`, which measures everything again in one run; `benchmarks/README.md` says how. Ratios are of values of the same
run, so that they do not depend on the machine. A value with a range is the median of {repeats} repetitions with the least and the largest.

Machine: {about}.

{targets(ingest, memory, generate, sizes.drawn)}

## ingest

{sizes.files} files with {sizes.showers} showers, {sizes.megabytes:.0f} MB in memory; one thread on one core, but for the last two rows. The bare loop
reads the same branches in steps as large as the pieces of ingest, and does nothing with them; the ratio is to the bare loop of the same repetition.
*Compression* is Zstandard in the event tables, *checksums* are fletcher32, the digests of the slabs and the SHA-256 of the inputs, *reading back*
verifies each table before it appears under its name.

{ingest_table(ingest, sizes.showers, sizes.megabytes)}

What it means: of the processor time of ingest, {costs(ingest)}. The rest is reading, checking, the zero suppression and the writing itself.
The last row says what a second core of this machine is worth: two bare loops that know nothing of one another, one on each core, read {median(ratios(ingest, TWICE)):.2f} times as much as
one alone. What one core takes {median(ratios(ingest, AS_IS)):.2f} of cannot come to more than {median(ratios(ingest, AS_IS)) * median(ratios(ingest, TWICE)):.2f} on two.

## Peak memory

Of the whole process, libraries included, on two cores with the threads of the rules. 'Same' is within {MOST_MEMORY_CHANGE:.0%}.

{memory_table(memory, sizes.few, sizes.many)}

What it means: where it reads 'met', a sample of any size needs no more memory than this, up to a few numbers an event.

## generate

{sizes.drawn} showers of one member on two cores, in batches of the default size, event table written and verified; imports apart. The network has the size of
that of the default study and is as a training finds it, with sum and centre of
the showers fitted but not trained: it fills more cells than a
shower has, so that a trained one takes no more time. Full simulation takes {FULL_SIMULATION_MS:g} ms for an average shower on one core.

{generate_table(generate, sizes.drawn)}

What it means: the last column is how many times more showers one gets in the same time.

## Overhead

The tiny study of the tests, every step on 500 showers, on one core: what `make all` takes outside the computation.

{overhead}
"""
