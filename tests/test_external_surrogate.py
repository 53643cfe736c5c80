"""external: the responses of another program stand in for a surrogate, event by event."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import samples
from sosie import generate
from sosie.detectors.ecal import incident_energy
from sosie.errors import InputError
from sosie.events import open_events
from sosie.foreign import read_foreign
from sosie.layouts import Layout
from sosie.ntuples import write_ntuple
from sosie.surrogates import save
from sosie.surrogates.external import External

FILES = {"kind": "external", "files": ["other.root"]}
NAMES = ("px", "py", "pz", "x", "y", "z", "pdg")


def external(count: int = 50, given: tuple[str, ...] = NAMES, incident: bool = False) -> External:
    """Responses of which each tells its event; only the conditions that are ``given`` are known."""
    where = samples.conditions(count)
    response = np.arange(count * 900, dtype=np.float32).reshape(count, 30, 30)
    known = np.where(np.isin(NAMES, given), where, np.nan).astype(np.float32)
    energy = incident_energy(where) if incident else np.full(count, np.nan)
    return External(samples.origin(where), FILES, response, known, energy.astype(np.float32))


def drawn(surrogate: External, where: np.ndarray) -> np.ndarray:
    return surrogate.sample(where, np.random.default_rng(2))


def refused(text: str, call: Any) -> None:
    with pytest.raises(InputError, match=text) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_each_event_gets_the_response_of_its_own_conditions_in_any_order():
    surrogate = external()
    order = np.random.default_rng(1).permutation(50)[:30]
    np.testing.assert_array_equal(
        drawn(surrogate, surrogate.conditions[order]), surrogate.response[order]
    )


def test_of_events_with_the_same_conditions_each_gets_its_own():
    """As at the discrete energies of many samples: none is taken twice."""
    surrogate = external(6)
    surrogate.conditions[:] = surrogate.conditions[[0, 1, 0, 1, 0, 1]]
    asked = surrogate.conditions[[1, 1, 0, 0, 1]]
    found = drawn(surrogate, asked)
    np.testing.assert_array_equal(found, surrogate.response[[1, 3, 0, 2, 5]])
    more = np.concatenate([asked, asked[:2]])
    refused(
        r"holds 3 events with the conditions of event 5, the sample more \(2 of 7 events",
        lambda: drawn(surrogate, more),
    )


def test_conditions_that_are_not_there_are_refused_by_value():
    surrogate = external()
    other = surrogate.conditions[:3].copy()
    other[1, 2] = 20.5
    surrogate.conditions[1, 2] = 20.25
    refused(
        r"other.root: no event with the conditions of event 1: pz 20.5 \(nearest, event 1: 20.25\)"
        r" \(1 of 3 events",
        lambda: drawn(surrogate, other),
    )


@pytest.mark.parametrize("given", [(), ("px", "x")], ids=["energies", "with conditions"])
def test_twins_need_no_conditions(given):
    surrogate = external(given=given, incident=True)
    where = samples.conditions(50)
    np.testing.assert_array_equal(drawn(surrogate, where), surrogate.response)
    parts = list(surrogate.batches(where, 7, np.random.default_rng(1)))
    np.testing.assert_array_equal(np.concatenate([rows for rows, _ in parts]), np.arange(50))
    np.testing.assert_array_equal(np.concatenate([r for _, r in parts]), surrogate.response)
    # Whoever calculates in single precision of GeV and back is not refused.
    surrogate.incident *= np.float32(1 + 5e-5)
    np.testing.assert_array_equal(drawn(surrogate, where), surrogate.response)


def test_twins_in_another_order_are_refused_with_the_first_event_that_is_off():
    surrogate, where = external(given=(), incident=True), samples.conditions(50)
    where[[7, 9]] = where[[9, 7]]
    found, asked = surrogate.incident[7], incident_energy(where)[7]
    refused(
        rf"the incident energy in MeV is {found:.6g}\d* in event 7, that of the sample "
        rf"{asked:.6g}\d* \(2 of 50 such events\)",
        lambda: drawn(surrogate, where),
    )


def test_a_condition_of_twins_that_is_off_is_named():
    surrogate, where = external(given=("x", "pdg"), incident=True), samples.conditions(50)
    surrogate.conditions[3, 6] = 22
    refused("'pdg' is 22 in event 3, that of the sample 11", lambda: drawn(surrogate, where))


def test_twins_of_another_number_are_refused_with_both():
    surrogate, where = external(given=(), incident=True), samples.conditions(50)
    refused("holds 50 events, the sample 49", lambda: drawn(surrogate, where[:49]))


def test_a_response_that_is_not_finite_is_that_of_the_nearest_event(capsys):
    surrogate = external()
    surrogate.response[4] = np.nan
    again = External(
        surrogate.origin, FILES, surrogate.response, surrogate.conditions, surrogate.incident
    )
    features = surrogate.features(surrogate.conditions)
    distance = ((features - features[4]) ** 2).sum(axis=1)
    distance[4] = np.inf
    found = drawn(again, surrogate.conditions)
    np.testing.assert_array_equal(found[4], surrogate.response[distance.argmin()])
    kept = np.arange(50) != 4
    np.testing.assert_array_equal(found[kept], surrogate.response[kept])
    assert "1 of 50 responses are not finite" in capsys.readouterr().err
    refused("no response for these", lambda: drawn(again, surrogate.conditions[[4]]))


def ntuple(path: Path, response: np.ndarray, where: np.ndarray) -> str:
    columns: dict[str, Any] = dict(zip(NAMES, where.astype(np.float64).T, strict=True))
    columns |= {name: columns[name] / 10 for name in ("x", "y", "z")}
    with write_ntuple(path, "ecal", rntuple=False) as append:
        append({**columns, "energy": response})
    return str(path)


def challenge(path: Path, response: np.ndarray, where: np.ndarray, **other: Any) -> str:
    """A file of the CaloChallenge; ``other`` datasets replace its own, None leaves one out."""
    own = {
        "incident_energies": incident_energy(where)[:, None],
        "showers": response.reshape(len(response), -1),
    }
    with h5py.File(path, "w") as file:
        for name, column in {**own, **other}.items():
            if column is not None:
                file.create_dataset(name, data=column, compression="gzip")
    return str(path)


def read(*paths: str, threshold: float = 0.5, **layout: Any):
    return read_foreign(
        list(paths), "ecal", Layout.from_dict({**samples.LAYOUT, **layout}), threshold
    )


WHERE = samples.conditions(20)
RESPONSE = samples.showers(WHERE)


def test_a_file_of_the_layout_of_the_study_is_read_and_suppressed(tmp_path):
    path = ntuple(tmp_path / "o.root", RESPONSE, WHERE)
    found = read(path, selection="event_id < 3", weight="w", group="track")
    np.testing.assert_array_equal(found.response, np.where(RESPONSE < 0.5, 0, RESPONSE))
    np.testing.assert_allclose(found.conditions, WHERE, rtol=2e-7)
    assert np.isnan(found.incident).all()


def test_an_event_table_is_read(tmp_path):
    path = samples.write_table(tmp_path / "o.h5", RESPONSE, WHERE)
    found = read(path)
    np.testing.assert_array_equal(found.response, np.where(RESPONSE < 0.5, 0, RESPONSE))
    np.testing.assert_array_equal(found.conditions, WHERE)


@pytest.mark.parametrize("shape", [(-1, 900), (-1, 30, 30)])
def test_a_file_of_the_calo_challenge_is_read(tmp_path, shape):
    path = challenge(
        tmp_path / "o.hdf5", RESPONSE, WHERE, showers=RESPONSE.astype(np.float64).reshape(shape),
        px=WHERE[:, 0], x=WHERE[:, 3:4],
    )  # fmt: skip
    found = read(path)
    np.testing.assert_array_equal(found.response, np.where(RESPONSE < 0.5, 0, RESPONSE))
    np.testing.assert_allclose(found.incident, incident_energy(WHERE), rtol=1e-6)
    np.testing.assert_array_equal(found.conditions[:, [0, 3]], WHERE[:, [0, 3]])
    assert np.isnan(found.conditions[:, [1, 2, 4, 5, 6]]).all()


def test_the_datasets_of_an_event_table_make_a_file_of_the_calo_challenge(tmp_path):
    """Whoever copies the two datasets of the test sample gets its showers back."""
    with h5py.File(samples.write_table(tmp_path / "test.h5", RESPONSE, WHERE)) as table:
        names = ("showers", "incident_energies")
        with h5py.File(tmp_path / "o.h5", "w") as file:
            for name in names:
                file[name] = table[name][()]
    found = read(str(tmp_path / "o.h5"))
    surrogate = External(
        samples.origin(WHERE), FILES, found.response, found.conditions, found.incident
    )
    np.testing.assert_array_equal(drawn(surrogate, WHERE), np.where(RESPONSE < 0.5, 0, RESPONSE))


@pytest.mark.parametrize("key", ["unit", "units"])
@pytest.mark.parametrize("place", ["dataset", "file"])
def test_energies_in_gev_are_converted(tmp_path, key, place):
    path = challenge(
        tmp_path / "o.h5", RESPONSE / 1000, WHERE,
        incident_energies=incident_energy(WHERE)[:, None] / 1000, x=WHERE[:, 3] / 10,
    )  # fmt: skip
    with h5py.File(path, "r+") as file:
        for each in [file["showers"], file["incident_energies"]] if place == "dataset" else [file]:
            each.attrs[key] = np.bytes_(b"GeV")
        file["x"].attrs[key] = "cm"
    found = read(path)
    np.testing.assert_allclose(found.response, np.where(RESPONSE < 0.5, 0, RESPONSE), rtol=1e-6)
    np.testing.assert_allclose(found.incident, incident_energy(WHERE), rtol=1e-6)
    np.testing.assert_allclose(found.conditions[:, 3], WHERE[:, 3], rtol=1e-6)


def test_what_is_no_energy_is_refused(tmp_path):
    path = challenge(tmp_path / "o.h5", RESPONSE, WHERE)
    with h5py.File(path, "r+") as file:
        file["showers"].attrs["unit"] = "mm"
    refused(
        "o.h5: 'showers': unit 'mm' does not fit; give one of eV, keV, MeV, GeV, TeV",
        lambda: read(path),
    )


NAN = np.where(np.arange(20) == 3, np.nan, 1.0)


@pytest.mark.parametrize(
    ("datasets", "text"),
    [
        ({"showers": np.ones((20, 368))}, "'showers' holds 368 numbers .* expected 900"),
        ({"showers": np.ones((20, 45, 16, 9))}, "holds 45 x 16 x 9 numbers .* expected 900"),
        ({"showers": np.ones((19, 900))}, "'incident_energies' holds 20 events, 'showers' 19"),
        ({"x": np.ones(18)}, "'x' holds 18 events, 'showers' 20"),
        ({"x": NAN}, r"'x' is nan in event 3 \(1 such events\), not a finite number"),
        ({"incident_energies": NAN[:, None]}, "'incident_energies' is nan in event 3"),
        ({"showers": None}, "no dataset 'showers'; there are incident_energies"),
        ({"incident_energies": None}, "no dataset 'incident_energies'; there are showers"),
        ({"showers": np.full((20, 900), -2.0)}, "event 0 holds -2 MeV .20 such .*expected 0 or more"),
        ({"showers": np.full((20, 900), b"a")}, "'showers' is no dataset of numbers"),
        ({"showers": np.ones((0, 900)), "incident_energies": np.ones((0, 1))}, "holds no events"),
    ],
)  # fmt: skip
def test_bad_files_of_the_calo_challenge_are_refused(tmp_path, datasets, text):
    path = challenge(tmp_path / "o.h5", RESPONSE, WHERE, **datasets)
    refused(rf"o\.h5: .*{text}", lambda: read(path))


def test_links_out_of_a_file_are_refused(tmp_path):
    other = challenge(tmp_path / "a.h5", RESPONSE, WHERE)
    path = challenge(tmp_path / "b.h5", RESPONSE, WHERE, showers=None)
    with h5py.File(path, "r+") as file:
        file["showers"] = h5py.ExternalLink(other, "showers")
    refused("'showers' is no dataset of numbers in this file", lambda: read(path))


def test_files_that_are_no_hdf5_or_of_another_detector_are_refused(tmp_path):
    (tmp_path / "o.h5").write_text("no HDF5")
    refused(r"o\.h5: cannot be read", lambda: read(str(tmp_path / "o.h5")))
    path = challenge(tmp_path / "c.h5", RESPONSE, WHERE)
    layout = Layout.from_dict(samples.LAYOUT)
    refused("'rich' is no calorimeter", lambda: read_foreign([path], "rich", layout, 0.0))
    table = samples.write_table(tmp_path / "t.h5", RESPONSE, WHERE)
    refused("of detector 'ecal', the study is of 'rich'", lambda: read_foreign([table], "rich", layout, 0.0))  # fmt: skip


def test_files_are_taken_one_after_the_other_and_hold_the_same(tmp_path):
    first = challenge(tmp_path / "1.h5", RESPONSE[:12], WHERE[:12])
    second = challenge(tmp_path / "2.h5", RESPONSE[12:], WHERE[12:])
    np.testing.assert_allclose(read(first, second).incident, incident_energy(WHERE), rtol=1e-6)
    third = challenge(tmp_path / "3.h5", RESPONSE[12:], WHERE[12:], x=WHERE[12:, 3])
    refused(
        r"3\.h5: holds x, incident energies, but .*1\.h5 incident energies",
        lambda: read(first, third),
    )


@pytest.mark.parametrize("write", [ntuple, challenge])
def test_a_few_responses_that_are_not_finite_are_counted(tmp_path, capsys, write):
    where = np.tile(WHERE, (60, 1))
    response = np.tile(RESPONSE, (60, 1, 1))
    response[4, 3, 3] = np.nan
    path = write(tmp_path / ("o.root" if write is ntuple else "o.h5"), response, where)
    found = read(path)
    assert "the response of event 4 holds numbers that are not finite, as those of 1 of 1200 events (0.0833 %)" in capsys.readouterr().err  # fmt: skip
    assert np.isnan(found.response[4]).all()
    assert np.isfinite(found.response[np.arange(1200) != 4]).all()
    response[7] = np.inf
    refused(
        r"event 4 holds .* 2 of 1200 events \(0.167 %\); at most 0.1 % may",
        lambda: read(write(Path(path), response, where)),
    )


def test_a_condition_that_is_not_finite_is_refused(tmp_path):
    where = WHERE.copy()
    where[5, 2] = np.nan
    path = ntuple(tmp_path / "o.root", RESPONSE, where)
    refused("condition 'pz' = 'pz' is nan in entry 5", lambda: read(path))


def test_generate_knows_the_whole_sample(tmp_path):
    """Twins are matched by their place, whatever the size of a batch."""
    surrogate = external(given=(), incident=True)
    save(tmp_path / "s.h5", surrogate)
    where = samples.conditions(50)
    given = samples.write_table(tmp_path / "test.h5", samples.showers(where), where)
    out = tmp_path / "out.h5"
    generate.run([str(tmp_path / "s.h5")], given, [str(out)], seed=1, batch=8)
    with open_events(out) as events:
        found = events.column("response")
    np.testing.assert_array_equal(found, np.where(surrogate.response < 0.2, 0, surrogate.response))
    assert surrogate.members(8) == [surrogate]
