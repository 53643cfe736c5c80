"""A step's digest follows the modules that it imports, and no others."""

import ast
import shutil
import subprocess
import sys

import pytest

from sosie import code

PLOTTING = {"matplotlib", "mplhep", "hist", "plothist"}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package that can be changed."""
    place = tmp_path / "sosie"
    shutil.copytree(code.PACKAGE, place, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "PACKAGE", place)
    return place


def append(path, text):
    path.write_text(path.read_text() + text)
    code._imports.cache_clear()
    code._callers.cache_clear()


def foreign(step):
    """First names of everything that the modules of a step import from elsewhere."""
    found = set()
    for module in code.modules(step):
        for node in ast.walk(ast.parse(code._path(module).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module).split(".")[0])
    return found


@pytest.mark.fault(8)
@pytest.mark.parametrize("step", ["ingest", "moments", "train"])
def test_digest_follows_imported_modules_alone(package, step):
    before = code.code_digest(step)
    append(package / "plots.py", "\nANOTHER_LABEL = 1\n")
    append(package / "report.py", "\nANOTHER_LABEL = 1\n")
    append(package / "events.py", "\n# a comment is no change\n")
    assert code.code_digest(step) == before
    append(package / "streams.py", "\nANOTHER = 1\n")
    assert code.code_digest(step) != before


@pytest.mark.fault(8)
def test_modules_behind_modules_and_packages_count(package):
    before = code.code_digest("ingest")
    append(package / "detectors" / "clusters.py", "\nANOTHER = 1\n")
    behind = code.code_digest("ingest")
    append(package / "detectors" / "__init__.py", "\nANOTHER = 1\n")
    assert len({before, behind, code.code_digest("ingest")}) == 3


@pytest.mark.fault(8)
def test_an_import_inside_a_function_counts(package):
    before = code.modules("ingest")
    append(package / "units.py", "\n\ndef f():\n    from sosie import bootstrap\n")
    assert set(code.modules("ingest")) - set(before) == {"sosie.bootstrap"}


@pytest.mark.fault(8)
def test_the_version_counts(monkeypatch):
    before = code.code_digest("moments")
    monkeypatch.setattr(code, "__version__", "99")
    assert code.code_digest("moments") != before


@pytest.mark.fault(8)
def test_the_command_of_a_step_counts_for_it_alone(package):
    before = {step: code.code_digest(step) for step in ("moments", "times", "generate")}
    commands = package / "commands.py"
    text = commands.read_text()
    assert text.count("    moments.run(") == 1
    commands.write_text(text.replace("    moments.run(", "    print()\n    moments.run("))
    code._callers.cache_clear()
    assert {step for step in before if code.code_digest(step) != before[step]} == {"moments"}


@pytest.mark.fault(8)
def test_the_page_is_part_of_the_report(package):
    report, compare = code.code_digest("report"), code.code_digest("compare")
    page = next(package.glob("templates/*"))
    page.write_text(page.read_text() + " ")
    assert code.code_digest("report") != report
    assert code.code_digest("compare") == compare


def test_a_label_counts_for_the_report_alone(package):
    before = {step: code.code_digest(step) for step in ("train", "moments", "report")}
    ecal = package / "detectors" / "ecal.py"
    ecal.write_text(ecal.read_text().replace('words="energy"', 'words="cluster energy"'))
    changed = {step for step in before if code.code_digest(step) != before[step]}
    assert changed == {"report"}


def test_a_docstring_counts_for_nothing(package):
    before = code.code_digest("train")
    streams = package / "streams.py"
    streams.write_text(streams.read_text().replace('"""Random numbers', '"""All random numbers'))
    assert code.code_digest("train") == before


def test_digest_does_not_depend_on_the_place(package):
    copied = [code.code_digest(step) for step in ("ingest", "report")]
    code.PACKAGE = type(package)(code.__file__).parent
    assert [code.code_digest(step) for step in ("ingest", "report")] == copied


@pytest.mark.parametrize(
    "step", ["ingest", "preprocess", "train", "ensemble", "generate", "moments"]
)
def test_no_plotting(step):
    assert f"sosie.{step}" in code.modules(step)
    assert not foreign(step) & PLOTTING
    assert "sosie.plots" not in code.modules(step)


def test_train_alone_imports_lightning():
    steps = ["ingest", "preprocess", "train", "ensemble", "generate", "moments", "reconstruct"]
    with_lightning = [s for s in [*steps, "compare", "report"] if "pytorch_lightning" in foreign(s)]
    assert with_lightning == ["train"]


@pytest.mark.parametrize("step", ["ensemble", "generate", "moments"])
def test_what_python_itself_imports(step):
    unwanted = sorted(PLOTTING | {"pytorch_lightning"})
    program = f"import sys, sosie.{step}; print([m for m in {unwanted} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
