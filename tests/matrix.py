"""The fault matrix: rows of promises, cases counted by the tests marked 'fault', and their table.

A test with ``@pytest.mark.fault(row)`` is one case, or as many as it counts with the fixture
``tally``. ``recovery=True`` marks cases in which the same command is run once more and must give
the same bytes; in all others what is wrong must be refused, or change nothing that is read.
"""

import re
from collections import Counter
from pathlib import Path

import pytest

ROWS = {
    1: "kills of a job, of snakemake and of the whole tree, in each step",
    2: "two runs on one results folder",
    3: "damaged input: cut, flipped, zeroed, in every compression",
    4: "damaged intermediates: cut, flipped, zeroed",
    5: "bad content, in the first, the middle and the last file",
    6: "training killed at random batches; checkpoints that lack something",
    7: "full disk, for each writer",
    8: "nothing stale: settings, code, inputs, outputs, version, seed",
    9: "configuration: every key, every type",
    10: "odd paths, for project, input and output",
    11: "hostile files",
    12: "the report is inert",
}
BEGIN, END = "<!-- matrix: written by 'make faults' -->", "<!-- end of matrix -->"
FOUND: dict[int, Counter[str]] = {}


class Tally:
    """Counts the cases of a test, and those that break the promise."""

    def __init__(self) -> None:
        self.cases = 0
        self.broken: list[str] = []
        self.unjudged = 0

    def add(self, held: bool, what: str) -> None:
        """Count a case."""
        self.cases += 1
        if not held:
            self.broken.append(what)

    def leave(self) -> None:
        """Count a case that nobody can judge, as the page says."""
        self.cases += 1
        self.unjudged += 1


def pytest_addoption(parser):
    parser.addoption(
        "--faults", choices=["short", "long"], default="short", help="how many cases of each fault"
    )
    parser.addoption("--faults-page", help="page in which the table of the matrix is renewed")


def pytest_configure(config):
    config.addinivalue_line("markers", "fault(row, recovery): a case of the fault matrix")


@pytest.fixture
def long(request) -> bool:
    """Whether all cases are asked for."""
    return request.config.getoption("--faults") == "long"


@pytest.fixture
def tally(request):
    """Counts the cases of this test; it fails where one breaks the promise."""
    counts = Tally()
    request.node.fault_tally = counts
    yield counts
    assert counts.cases or request.node.fault_skipped
    assert not counts.broken, f"{len(counts.broken)} of {counts.cases}: {counts.broken[:12]}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Put what a test counted into its report, which may come from another process."""
    report = yield
    marker = item.get_closest_marker("fault")
    if marker and report.when == "teardown":
        counts = getattr(item, "fault_tally", None)
        failed = getattr(item, "fault_failed", False) or not report.passed
        skipped = getattr(item, "fault_skipped", False)
        cases = 0 if skipped else max(1, counts.cases if counts else 0)
        broken = max(int(failed), len(counts.broken) if counts else 0)
        report.user_properties.append(
            (
                "fault",
                {
                    "row": marker.args[0],
                    "recovery": bool(marker.kwargs.get("recovery")),
                    "cases": cases,
                    "broken": broken,
                    "unjudged": counts.unjudged if counts else 0,
                    "skipped": int(skipped),
                },
            )
        )
    elif marker:
        item.fault_failed = getattr(item, "fault_failed", False) or report.failed
        item.fault_skipped = getattr(item, "fault_skipped", False) or report.skipped
    return report


def pytest_runtest_logreport(report):
    for name, found in report.user_properties if report.when == "teardown" else []:
        if name == "fault":
            row = FOUND.setdefault(found["row"], Counter())
            kind = "recoveries" if found["recovery"] else "refusals"
            row[kind] += found["cases"] - found["unjudged"]
            row[f"broken {kind}"] += found["broken"]
            row["unjudged"] += found["unjudged"]
            row["skipped"] += found["skipped"]


def table(found: dict[int, Counter[str]]) -> str:
    """The rows and the two figures, in Markdown."""
    lines = [
        "| row | cases of refusal | silent acceptances | cases of recovery | not byte-identical "
        "| cannot be judged | tests skipped |",
        "|---|---|---|---|---|---|---|",
    ]
    keys = (
        "refusals", "broken refusals", "recoveries", "broken recoveries", "unjudged", "skipped",
    )  # fmt: skip
    for number in sorted(found):
        cells = " | ".join(str(found[number][key]) for key in keys)
        lines.append(f"| {number}. {ROWS[number]} | {cells} |")
    total: Counter[str] = sum(found.values(), Counter())
    lines += [
        "",
        f"Silent acceptances: **{total['broken refusals']}** of {total['refusals']}. "
        f"Recoveries that are not byte-identical: **{total['broken recoveries']}** "
        f"of {total['recoveries']}.",
    ]
    return "\n".join(lines)


def pytest_terminal_summary(terminalreporter, config):
    if not FOUND:
        return
    terminalreporter.section("fault matrix")
    text = table(FOUND)
    terminalreporter.write_line(text)
    if page := config.getoption("--faults-page"):
        old = Path(page).read_text(encoding="utf-8")
        new = re.sub(
            f"{re.escape(BEGIN)}.*?{re.escape(END)}",
            lambda _: f"{BEGIN}\n\n{text}\n\n{END}",
            old,
            count=1,
            flags=re.DOTALL,
        )
        Path(page).write_text(new, encoding="utf-8")
