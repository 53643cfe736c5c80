"""Traps of clusters, without one; tests/cluster has a SLURM."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sosie import clusters
from sosie.clusters import avoid_sacct, check_plain
from sosie.errors import SosieError


def test_paths_that_a_shell_would_change_are_refused_on_a_cluster(tmp_path):
    check_plain([Path("/data/run-7_a.root"), "nt.root"])
    for name in ("a b", "it's", "$(touch x)", "a;b", "a\\b", "ë.root", "a&b"):
        with pytest.raises(SosieError, match="rename it"):
            check_plain(["nt.root", name])


@pytest.mark.parametrize("answer", ["exit 0", "exit 1", "exec sleep 60"])
def test_sacct_is_used_only_where_it_answers(monkeypatch, tmp_path, answer):
    program = tmp_path / "sacct"
    program.write_text(f"#!/bin/sh\n{answer}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(clusters, "PATIENCE", 0.5)
    plugin = SimpleNamespace(is_query_tool_available=lambda name: True)
    monkeypatch.setitem(sys.modules, clusters.PLUGIN, plugin)
    avoid_sacct()
    assert plugin.is_query_tool_available("squeue")
    assert plugin.is_query_tool_available("sacct") == (answer == "exit 0")


def test_the_plugin_has_what_is_replaced():
    plugin = pytest.importorskip(clusters.PLUGIN, reason="make .venv/cluster")
    assert plugin.is_query_tool_available("no such program") is False
