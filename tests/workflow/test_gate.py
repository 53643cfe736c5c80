"""``snakemake gate`` says what passed, and fails where a gate does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sosie.files import write_json
from sosie.gates import judge

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(("value", "passed"), [(0.55, True), (0.95, False)])
def test_snakemake_gate_fails_where_a_gate_does(value, passed, tmp_path):
    study = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    study["study"] = "gated"
    study["ingest"]["files"] = [str(ROOT / "resources/ecal/quick.root")]
    (tmp_path / "gated.yaml").write_text(yaml.safe_dump(study))
    rows = {
        name: {"auc": {"value": x, "statistical": 0.01, "systematic": 0.01, "events": [9, 9]}}
        for name, x in (("floor", 0.5), ("library", value))
    }
    gate = {"figure": "auc", "relative_to": "floor", "margin": 0.1}
    write_json(tmp_path / "results/gated/compare/metrics.json", {"gates": judge([gate], rows)})
    # Of all rules the gate alone, so that the file is taken as it is.
    done = subprocess.run(
        [
            sys.executable, "-m", "snakemake", "gate", "--cores", "1", "--allowed-rules", "gate",
            "--snakefile", str(ROOT / "Snakefile"), "--directory", str(tmp_path),
            "--configfile", str(tmp_path / "gated.yaml"),
        ],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert (done.returncode == 0) == passed, done.stderr[-3000:]
    word = "passed" if passed else "FAILED"
    assert f"{word}  library  auc = {value:.3f}" in done.stdout
    assert word in (tmp_path / "results/gated/logs/compare/gate.log").read_text()
