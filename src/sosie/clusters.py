"""Traps of clusters that the run on the login node keeps clear of."""

import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sosie.errors import SosieError

PLUGIN = "snakemake_executor_plugin_slurm"
PATIENCE = 10  # seconds for an answer of the accounting


def check_plain(paths: Iterable[str | Path]) -> None:
    """Raise SosieError for a path that a shell would not take as it stands.

    Into the jobs of a cluster Snakemake writes folders without quotes, and files in those of Python.
    """
    for path in map(str, paths):
        if shlex.quote(path) != path:
            raise SosieError(
                f"{path}: a path of a study on a cluster has letters of ASCII, digits and "
                "_ @ % + = : , . / - alone; rename it, or run the study without a cluster"
            )


def accounting() -> bool:
    """Whether sacct answers."""
    words = ["sacct", "--noheader", "--allocations", "--name=sosie"]
    try:
        done = subprocess.run(words, capture_output=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def avoid_sacct() -> None:
    """Let the plugin for SLURM do without sacct where that does not answer.

    After one slow answer of scontrol it would turn to sacct, lose sight of its jobs and wait for ever.
    """
    plugin: Any = sys.modules.get(PLUGIN)
    if plugin is None or accounting():
        return
    there = plugin.is_query_tool_available
    plugin.is_query_tool_available = lambda name: name != "sacct" and there(name)
