"""Times: a clock that the test turns; sizes that are known; what was stopped goes on counting."""

import numpy as np
import pytest

from samples import Noisy, conditions, origin, showers, write_table
from sosie import machine, times
from sosie.cli import main
from sosie.errors import IntermediateError
from sosie.files import read_json, write_json
from sosie.surrogates import save
from sosie.surrogates.library import Library
from sosie.train import Clock


class Slow:
    """Something that takes ``seconds`` an event and ``once`` a call, by its own clock."""

    def __init__(self, seconds: float, once: float = 0.0) -> None:
        self.seconds, self.once, self.now, self.calls = seconds, once, 0.0, []

    def __call__(self, some: np.ndarray) -> None:
        self.calls.append(some[:, 0].tolist())
        self.now += self.seconds * len(some) + self.once

    def time(self) -> float:
        return self.now


def test_time_an_event_of_a_known_law():
    slow, where = Slow(1e-3, once=0.1), np.arange(30.0)[:, None]
    found = times.measure(slow, where, 10, slow.time)
    assert found["milliseconds"] == pytest.approx(11)
    assert found["low"] == pytest.approx(found["milliseconds"]) == found["high"]
    assert (found["batch"], found["events"]) == (10, 10)
    assert [len(call) for call in slow.calls[:4]] == [1, 4, 10, 10], "those before grow"
    assert found["repetitions"] == len(slow.calls) - 3
    assert slow.calls[5] == list(range(20, 30)), "the conditions are taken in turn"
    assert slow.calls[6] == slow.calls[3]


@pytest.mark.parametrize("seconds", [1e-6, 1e-3, 0.5, 5.0])
def test_what_is_slow_draws_fewer_events_in_a_bounded_time(seconds):
    slow, where = Slow(seconds), np.zeros((7, 1))
    for batch in times.BATCHES:
        found = times.measure(slow, where, batch, slow.time)
        assert found["milliseconds"] == pytest.approx(1e3 * seconds)
        assert found["repetitions"] >= times.LEAST
    most = min(10_000, 1 / seconds)
    assert most / times.GROWTH <= found["events"] <= max(1, most)
    assert slow.now <= max(20.0, 3 * (times.LEAST + 1) * seconds)


def test_a_constant_part_does_not_make_the_batch_smaller():
    slow = Slow(1e-6, once=0.2)
    assert times.measure(slow, np.zeros((7, 1)), 10_000, slow.time)["events"] == 10_000


def test_parameters_and_stored_events_are_counted():
    weights = {"weights/a": np.ones((3, 4)), "part/11/weights/b": np.ones(5), "masks": np.ones(99)}
    assert times.size_of(weights)["parameters"] == 17
    stored = {"part/1/response": np.ones((6, 2)), "part/1/weight": np.ones(6)}
    stored |= {"part/2/response": np.ones((4, 2))}
    found = times.size_of(stored)
    assert (found["parameters"], found["stored_events"]) == (0, 10)
    assert found["megabytes"] == 26 * 8 / 1e6


def test_a_clock_goes_on_from_the_longest_that_is_known(monkeypatch):
    now = [10.0]
    monkeypatch.setattr("sosie.train.time.perf_counter", lambda: now[0])
    clock = Clock()
    now[0] = 13.0
    clock.resume(100.0)
    assert clock.seconds == 100.0
    now[0] = 20.0
    clock.resume(50.0)
    assert clock.seconds == 107.0, "a checkpoint of the same process takes nothing away"


def test_the_command_measures_a_surrogate(tmp_path, monkeypatch):
    monkeypatch.setattr(times, "SECONDS", 0.01)
    where = conditions(50)
    reference = write_table(tmp_path / "test.h5", showers(where), where)
    settings = {"kind": "library", "neighbours": 1}
    save(tmp_path / "library.h5", Library(origin(where), settings, showers(where), where))
    out = tmp_path / "times/library.json"
    words = ["--surrogate", str(tmp_path / "library.h5"), "--conditions", reference]
    assert (
        main(["generate", "--times", *words, "--out", str(out), "--set", "full_simulation=0.24"])
        == 0
    )
    found = read_json(out, "generate")
    assert [one["batch"] for one in found["cpu"]] == [1, 100, 10_000]
    assert all(one["milliseconds"] > 0 for one in found["cpu"])
    assert (found["stored_events"], found["parameters"], found["full_simulation"]) == (50, 0, 0.24)
    assert "gpu" not in found
    assert main(["generate", "--times", *words, "--out", str(out), str(out)]) == 2


def test_peak_memory_is_that_of_this_process():
    before = machine.peak_memory()
    held = np.ones(4 * 10**7 // 8 * 10)
    assert machine.peak_memory() > max(before, held.nbytes / 1e6)
    assert machine.processor()


def test_a_surrogate_without_a_network_is_not_moved():
    assert Noisy(origin(conditions(3)), {}).move("cpu") is False


def test_the_cost_of_an_ensemble_is_that_of_all_its_trainings(tmp_path):
    for run, (seconds, memory) in enumerate([(10.0, 900.0), (12.0, 950.0), (8.0, 910.0)]):
        one = {"seconds": seconds, "device": "cpu", "threads": 2, "peak_memory_mb": memory}
        write_json(tmp_path / f"times/train/gan/{run}.json", one)
    write_json(tmp_path / "times/generate/gan.json", {"cpu": []})
    alone = times.read_costs(tmp_path, "gan", 1)["training"]
    assert alone == read_json(tmp_path / "times/train/gan/0.json", "train")
    found = times.read_costs(tmp_path, "gan", 3)["training"]
    assert found == {**alone, "seconds": 30.0, "peak_memory_mb": 950.0}
    with pytest.raises(IntermediateError, match=r"times/train/gan/3\.json"):
        times.read_costs(tmp_path, "gan", 4)


def test_trainings_behind_members():
    assert times.runs_of({"kind": "library"}, 1) == 1
    assert times.runs_of({"kind": "wgan_gp"}, 8) == 1
    assert times.runs_of({"kind": "wgan_gp", "method": "dropout_masks"}, 8) == 1
    assert times.runs_of({"kind": "wgan_gp", "method": "independent"}, 8) == 8
