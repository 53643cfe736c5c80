"""The list of promises names tests that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMED = re.findall(r"`([\w/]+\.py)::(\w+)`( \(slow\))?", (ROOT / "docs/reliability.md").read_text())


@pytest.mark.parametrize(("file", "name", "slow"), NAMED)
def test_the_test_of_a_promise_is_there(file, name, slow):
    text = (ROOT / "tests" / file).read_text()
    found = re.search(rf"((?:^[@ )].*\n)*)^def {name}\(", text, re.MULTILINE)
    assert found, f"{file} has no {name}"
    always = re.search(r"^@pytest\.mark\.slow$", found[1], re.MULTILINE)
    assert bool(always) == bool(slow)


def test_there_are_promises():
    assert len(NAMED) > 50
