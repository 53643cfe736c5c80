"""Every kind with a network: killed in its training and started again, it is the same surrogate."""

from pathlib import Path

import numpy as np
import pytest

import test_surrogates as contract
import toy
from examples import hodoscope
from sosie import train
from sosie.detectors import DETECTORS
from sosie.surrogate_sections import NETWORKS
from sosie.surrogates import descent, flow_training, training

QUICK = {"epochs": 3, "law_epochs": 1, "validate_every": 1, "batch": 100, "width": 16}
EVENTS = 300


@pytest.fixture(scope="module")
def laws(tmp_path_factory: pytest.TempPathFactory) -> dict[str, contract.Law]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DETECTORS, "toy", toy.TOY)
        patch.setitem(DETECTORS, "hodoscope", hodoscope.DETECTOR)
        made = {"toy": contract._vectors, "hodoscope": contract._cells}
        return {name: law(tmp_path_factory.mktemp(name)) for name, law in made.items()}


# one_step, which needs a teacher, is killed in test_one_step.
@pytest.mark.parametrize("kind", [kind for kind in NETWORKS if kind != "one_step"])
def test_resumed_at_an_epoch_it_gives_the_same_bytes(
    kind: str,
    laws: dict[str, contract.Law],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(DETECTORS, "toy", toy.TOY)
    monkeypatch.setitem(DETECTORS, "hodoscope", hodoscope.DETECTOR)
    monkeypatch.setattr(descent, "STEPS", 5)
    monkeypatch.setattr(flow_training, "SWEEPS", 2)
    law = laws[contract.CASES[kind].law]
    fields = contract.SECTIONS[kind].model_fields
    quick = {name: value for name, value in QUICK.items() if name in fields}
    settings = contract.settings_of(kind, **{**contract.CASES[kind].settings, **quick})
    sample = train.Sample(
        law.sample.response[:EVENTS], law.sample.conditions[:EVENTS], np.ones(EVENTS)
    )

    def fitted(name: str) -> dict[str, bytes]:
        task = train.Task(law.origin, settings, 2, 3, 1, sample, sample, tmp_path / f"{name}.h5")
        made, rows = train.fit(task)
        assert [row["epoch"] for row in rows] == [1, 2, 3]
        return {name: array.tobytes() for name, array in made.arrays().items()}

    whole = fitted("whole")

    def killed(path, module):
        write(path, module)
        if module.done == 2:
            raise RuntimeError("killed")

    write = training.write_checkpoint
    with monkeypatch.context() as patch:
        patch.setattr(training, "write_checkpoint", killed)
        with pytest.raises(RuntimeError, match="killed"):
            fitted("killed")
    assert fitted("killed") == whole
    assert f"{kind}: goes on after epoch 2" in capsys.readouterr().err
