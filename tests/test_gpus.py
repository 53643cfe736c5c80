"""Several GPUs, several trainings: each has one of its own. Names stand for GPUs here."""

import signal
import subprocess
import sys
import time

import pytest
from pytorch_lightning import Trainer

from sosie.surrogates import gpus
from sosie.surrogates.place import place

HOLD = """
import sys, time
from sosie.surrogates.gpus import take
print(take(sys.argv[1:], pause=0.05), flush=True)
time.sleep(60)
"""


@pytest.fixture
def names(tmp_path):
    """Names of two GPUs that no other test has."""
    return [f"{tmp_path.name}-{index}" for index in range(2)]


@pytest.fixture
def holder(names):
    """Starts processes that take a GPU and keep it."""
    started = []

    def start() -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, *names],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_each_process_gets_one_of_its_own(names, holder):
    found = {holder().stdout.readline(), holder().stdout.readline()}
    assert found == {"0\n", "1\n"}
    assert all(gpus.hold(f"sosie-gpu-{name}") is None for name in names)


def test_a_third_waits_until_one_is_killed(names, holder):
    first, second = holder(), holder()
    taken = [int(process.stdout.readline()) for process in (first, second)]
    third = holder()
    assert "waits for one of 2 GPUs" in third.stderr.readline()
    time.sleep(0.2)
    second.send_signal(signal.SIGKILL)
    assert int(third.stdout.readline()) == taken[1]


def test_a_training_in_a_job_of_slurm_is_not_requeued_by_lightning(monkeypatch):
    for name, value in {"NTASKS": "4", "JOB_NAME": "x", "JOB_ID": "7", "PROCID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    trainer = Trainer(
        **place({"device": "cpu"}), max_epochs=0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    before = signal.getsignal(signal.SIGUSR1)
    trainer._signal_connector.register_signal_handlers()
    try:
        assert signal.getsignal(signal.SIGUSR1) == before
        assert trainer.world_size == 1
    finally:
        trainer._signal_connector.teardown()
