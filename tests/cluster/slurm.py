"""A SLURM of one node, as real as any, in a folder of its own."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel")
PATIENCE = 60  # seconds until the node must be there
SETTINGS = "/etc/slurm"
CORES = 2
MEMORY = 6000  # MB, for all jobs together

# Jobs that have ended stay visible for MinJobAge seconds; the plugin would else turn to sacct.
CONFIGURATION = """\
ClusterName=sosie
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdParameters=config_overrides
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
SchedulerParameters=batch_sched_delay=1,sched_interval=2
MpiDefault=none
ReturnToService=2
MinJobAge=3600
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory} Gres=gpu:1 State=UNKNOWN
PartitionName=short Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes={host} MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why there can be no SLURM here, in words; '' where there can."""
    if lacking := [name for name in PROGRAMS if not shutil.which(name)]:
        return f"no {', '.join(lacking)}: make test-cluster installs them"
    if [name for _, name in socket.if_nameindex()] != ["lo"]:
        return "a network beside the loopback: make test-cluster runs it without"
    return "" if os.geteuid() == 0 else "SLURM is started by root alone"


def write_configuration(folder: Path) -> None:
    """Configuration, keys and folders of the daemons."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    # To SLURM, a device that is there is a GPU; the null device stands for one.
    os.mknod(folder / "gpu0", 0o20666, os.makedev(1, 3))
    host = socket.gethostname().split(".")[0]
    text = CONFIGURATION.format(folder=folder, host=host, cores=CORES, memory=MEMORY)
    (folder / "slurm.conf").write_text(text)
    (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu File={folder}/gpu0\n")
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)


def ask(*words: str) -> str:
    """What a command of SLURM answers."""
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def ready() -> bool:
    """Whether the node takes jobs."""
    done = subprocess.run(
        ["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True, check=False
    )
    return done.stdout.split()[:1] == ["idle"]


@contextmanager
def running(folder: Path) -> Iterator[None]:
    """SLURM in a folder, whose path must be without spaces and short enough for a socket."""
    write_configuration(folder)
    # Seen here alone, since the mounts are our own; jobs do not inherit SLURM_CONF.
    subprocess.run(["mount", "--bind", folder, SETTINGS], check=True)
    daemons = [
        [
            "munged", "--foreground", "--force", f"--socket={folder}/munge.socket",
            f"--key-file={folder}/munge.key", f"--pid-file={folder}/munge.pid",
            f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed",
        ],
        ["slurmctld", "-D"],
        ["slurmd", "-D"],
    ]  # fmt: skip
    started = []
    try:
        with open(folder / "daemons.log", "w") as log:
            for words in daemons:
                started.append(subprocess.Popen(words, stdout=log, stderr=log))
                time.sleep(1)
        end = time.monotonic() + PATIENCE
        while not ready():
            assert time.monotonic() < end, (folder / "daemons.log").read_text()
            time.sleep(0.5)
        yield
    finally:
        for daemon in reversed(started):
            daemon.terminate()
            daemon.wait(timeout=30)
        subprocess.run(["umount", "--lazy", SETTINGS], check=True)
