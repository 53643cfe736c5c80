"""The machine on which this runs: processor, accelerator, peak memory."""

import platform
import resource
import sys
from pathlib import Path


def processor() -> str:
    """Name of the processor."""
    if (cpu := Path("/proc/cpuinfo")).is_file():
        for line in cpu.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def accelerator() -> str | None:
    """Name of the GPU, where there is one and torch is loaded."""
    torch = sys.modules.get("torch")
    return str(torch.cuda.get_device_name(0)) if torch and torch.cuda.is_available() else None


def peak_memory() -> float:
    """Peak memory of this process so far, in MB (10^6 bytes)."""
    # Not by getrusage where it can be helped: its peak begins with that of the parent process.
    if (status := Path("/proc/self/status")).is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
