"""convert: text digits to an ntuple, and what a damaged text says."""

from pathlib import Path

import numpy as np
import pytest
import uproot

from sosie import convert
from sosie.errors import InputError

EVENT = "params: -1.5 20.25 100.75 31.5 23 0.479\n 30 99 2.5e+00 31 100 5.0e+01 \n"
OTHER = "params:  3.0 -9.5 2.0 4.25 0 0.5\n 4 0 1.0e+01  5 3 4.0\n"


@pytest.fixture
def text(tmp_path: Path):
    """A function that writes a text and returns it with the place of the ntuple."""

    def write(content: str | bytes) -> tuple[str, str]:
        source = tmp_path / "digits.dat"
        source.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(source), str(tmp_path / "out.root")

    return write


def test_events_are_placed_on_their_windows(text) -> None:
    source, out = text(EVENT + OTHER)
    convert.run(source, out)
    with uproot.open(out) as file:
        found = file["responses"].arrays(library="np")
    np.testing.assert_array_equal(found["pad0"], [31 - 3, 4 - 3])
    np.testing.assert_array_equal(found["time0"], [100 - 7, 2 - 7])
    expected = np.zeros((2, 8, 16))
    expected[0, 30 - 28, 99 - 93], expected[0, 31 - 28, 100 - 93] = 2.5, 50.0
    expected[1, 4 - 1, 0 + 5], expected[1, 5 - 1, 3 + 5] = 10.0, 4.0
    np.testing.assert_array_equal(found["response"], expected)
    np.testing.assert_allclose(found["crossing_angle"], [-1.5, 3.0])
    np.testing.assert_allclose(found["dip_angle"], [20.25, -9.5])
    np.testing.assert_allclose(found["drift_length"], [100.75, 2.0])
    np.testing.assert_allclose(found["pad_coordinate"], [31.5, 4.25])
    np.testing.assert_allclose(found["padrow"], [23, 0])
    np.testing.assert_allclose(found["pT"], [0.479, 0.5], rtol=1e-6)
    assert not found["n_outside"].any()
    assert not found["lost_outside"].any()


def test_digits_may_stand_on_several_lines_or_lack(text) -> None:
    source, out = text(
        "\nparams: 0 0 50.5 30.5 23 0.5\n 30 50 1.0\n\n 31 50 2.0\nparams: 0 0 9 9 0 1\n"
    )
    convert.run(source, out)
    with uproot.open(out) as file:
        charge = file["responses"]["response"].array(library="np").sum(axis=(1, 2))
    np.testing.assert_array_equal(charge, [3, 0])


def test_row_and_momentum_may_lack(text) -> None:
    source, out = text("params: -1.5 20.25 100.75 31.5\n 31 100 5.0e+01\n")
    convert.run(source, out)
    with uproot.open(out) as file:
        assert not {"padrow", "pT"} & set(file["responses"].keys())


def test_events_are_written_in_pieces(text, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "PIECE", 2)
    source, out = text(EVENT * 5)
    convert.run(source, out)
    with uproot.open(out) as file:
        assert file["responses"].num_entries == 5


def test_charge_beyond_the_window_is_counted(text) -> None:
    # 0.25 of 50.25 ADC in two digits: 0.5 %.
    source, out = text("params: 0 0 100.5 31.5 23 0.5\n 31 100 50 31 109 0.125 24 100 0.125\n")
    convert.run(source, out)
    with uproot.open(out) as file:
        found = file["responses"].arrays(library="np")
    np.testing.assert_array_equal(found["n_outside"], [2])
    np.testing.assert_allclose(found["lost_outside"], [0.25 / 50.25], rtol=1e-6)
    assert found["response"].sum() == 50


def test_windows_that_cut_the_signal_are_refused(text) -> None:
    source, out = text(EVENT + "params: 0 0 100.5 31.5 23 0.5\n 31 100 5 31 130 5\n")
    with pytest.raises(InputError, match=r"8\.0% of the amplitude .* \(1 digits, most at line 3\)"):
        convert.run(source, out)
    assert not Path(out).exists()


@pytest.mark.parametrize(
    ("digits", "message"),
    [
        ("31.5 100 5", r"line 4: pad '31\.5' is not an integer"),
        ("31 1e2 5", r"line 4: time '1e2' is not an integer"),
        ("-1 100 5", r"line 4: pad -1 is not from 0 to 69"),
        ("70 100 5", r"line 4: pad 70 is not from 0 to 69"),
        ("31 310 5", r"line 4: time 310 is not from 0 to 309"),
        ("31 100 nan", r"line 4: 'nan' is not a finite number"),
        ("31 100 -5", r"line 4: amplitude -5 is negative"),
        ("31 100", r"line 4: 2 numbers, no whole triplets .* copy the file again"),
    ],
)
def test_damaged_digits_are_named_by_their_line(text, digits: str, message: str) -> None:
    source, out = text(f"{EVENT}params: 0 0 100.5 31.5 23 0.5\n {digits}\n")
    with pytest.raises(InputError, match=rf"^{source}: {message}"):
        convert.run(source, out)
    assert not Path(out).exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("params: 1 2 3\n 31 100 5\n", "line 1: 3 parameters; there should be 4 .* or 6"),
        ("params: 1 2 x 31 23 0.5\n", "line 1: 'x' is not a finite number"),
        ("params: 1 2 100 31 53 0.5\n", "line 1: padrow 53 is not from 0 to 52"),
        (EVENT + "params: 1 2 100 31\n", "line 3: 4 parameters, but 6 before"),
        ("31 100 5\n", "line 1: digits before the first line 'params:'"),
        ("", "no line 'params:' in it"),
        (b"\xff\xfe\x00\x81", "not text; give the text file"),
    ],
)
def test_what_is_not_the_format_is_refused(text, content: str | bytes, message: str) -> None:
    source, out = text(content)
    with pytest.raises(InputError, match=message):
        convert.run(source, out)
    assert not Path(out).exists()


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.dat: no such file; check the path"):
        convert.run(str(tmp_path / "none.dat"), str(tmp_path / "out.root"))


def test_last_good_file_stays_where_the_text_is_damaged(text) -> None:
    source, out = text(EVENT)
    convert.run(source, out)
    before = Path(out).read_bytes()
    text(EVENT + "params: broken\n")
    with pytest.raises(InputError):
        convert.run(source, out)
    assert Path(out).read_bytes() == before
