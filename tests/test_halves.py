"""The halves of the validation sample: calibration.h5 is exactly the one that chose no weights."""

from pathlib import Path

import numpy as np
import pytest

from samples import conditions, showers, write_table
from sosie.cli import main
from sosie.events import open_events
from sosie.halves import chooses
from sosie.train import read_sample


def test_half_of_the_validation_sample_chooses() -> None:
    groups = np.arange(20000, dtype=np.uint64)
    first = chooses(groups, 1)
    assert abs(first.mean() - 0.5) < 0.02
    assert abs((first == chooses(groups, 2)).mean() - 0.5) < 0.02


@pytest.fixture
def validation(tmp_path: Path) -> str:
    """3 000 events, two a group, which are three slabs and more than one piece."""
    where = conditions(3000, seed=4)
    response = np.zeros((3000, 30, 30), np.float32)
    response[:, 3, 4] = np.arange(3000)
    groups = np.arange(3000) // 2
    weight = np.linspace(0.5, 2, 3000)
    return write_table(tmp_path / "validation.h5", response, where, groups=groups, weight=weight)


def test_calibration_is_exactly_the_other_half(validation: str, tmp_path: Path) -> None:
    out = tmp_path / "calibration.h5"
    arguments = ["ingest", "--calibration", validation, "--seed", "5", "--out", str(out)]
    assert main(arguments) == 0
    trained = read_sample(validation, lambda groups: chooses(groups, 5))
    with open_events(validation) as events, open_events(out) as left:
        other = ~chooses(events.column("group_id"), 5)
        names = ("response", "conditions", "event_id", "group_id", "weight", "aux/event_id")
        for name in names:
            np.testing.assert_array_equal(left.column(name), events.column(name)[other])
        numbers = left.column("response")[:, 3, 4]
        assert left.attributes["layout"] == events.attributes["layout"]
    both = np.concatenate([trained.response[:, 3, 4], numbers])
    np.testing.assert_array_equal(np.sort(both), np.arange(3000))
    first = out.read_bytes()
    assert main(arguments) == 0
    assert out.read_bytes() == first


def test_no_event_for_calibration_asks_for_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = np.flatnonzero(chooses(np.arange(100, dtype=np.uint64), 5))[:3]
    where = conditions(3)
    table = write_table(tmp_path / "v.h5", showers(where), where, groups=groups)
    out = tmp_path / "calibration.h5"
    assert main(["ingest", "--calibration", table, "--seed", "5", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "v.h5: none of its 3 events is left for calibration; give more events" in said
    assert not out.exists()
