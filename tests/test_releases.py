"""Releases that are known to be bad are refused, and never among those that are installed."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError

import pytest
from packaging.requirements import Requirement

from conftest import ROOT
from sosie import releases
from sosie.cli import main
from sosie.releases import SOUND, check_releases, is_sound

BAD = [("pytorch-lightning", "2.6.2"), ("lightning", "2.6.3"), ("onnx", "1.20.1")]
GOOD = [
    ("pytorch-lightning", "2.6.6"),
    ("lightning", "2.6.1"),
    ("onnx", "1.21.0"),
    ("numpy", "1.0"),
]


def pins(name: str) -> dict[str, tuple[str, int]]:
    """Releases that a file in envs/ pins, and how many digests it has of each."""
    text = (ROOT / "envs" / name).read_text()
    found = re.findall(
        r"^([\w.-]+)==([\w.]+)([^\n]*(?:\n +--hash=sha256:[0-9a-f]{64}.*)*)", text, re.MULTILINE
    )
    return {
        re.sub(r"[-_.]+", "-", name).lower(): (release, rest.count("--hash=sha256:"))
        for name, release, rest in found
    }


PINS, LOCKED = pins("constraints.txt"), [pins("lock.txt"), pins("lock-optional.txt")]


@pytest.fixture
def installed(monkeypatch):
    """A function that makes it look as if one release of these were installed."""

    def install(package, release):
        def version(name):
            if name != package:
                raise PackageNotFoundError(name)
            return release

        monkeypatch.setattr(releases, "version", version)

    return install


@pytest.mark.parametrize(("package", "release"), BAD)
def test_a_bad_release_is_refused_before_anything_is_done(installed, package, release, capsys):
    installed(package, release)
    assert main(["preprocess", "--in", "nothing.h5", "--out", "a.json"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"sosie preprocess: {package} {release}: ")
    assert line.endswith(f"take {package}{SOUND[package]}")


@pytest.mark.parametrize(("package", "release"), GOOD)
def test_others_are_not(installed, package, release):
    installed(package, release)
    check_releases()


def test_what_is_installed_here_is_sound():
    check_releases()


def test_no_pin_is_a_bad_release():
    assert len(PINS) > 100
    for known in (PINS, *LOCKED):
        assert all(is_sound(package, release) for package, (release, _) in known.items())
    assert "pytorch-lightning" in PINS


def test_every_pin_but_torch_has_digests_of_its_files():
    first, second = LOCKED
    assert not first.keys() & second.keys()
    both = first | second
    assert PINS.keys() - both.keys() == {"torch"}
    for package, (release, digests) in both.items():
        assert digests
        assert PINS.get(package, (release,))[0] == release


def test_no_bad_release_satisfies_what_the_package_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = [Requirement(text) for some in asked for text in some]
    known = {one.name: one.specifier for one in wanted}
    for package, release in BAD:
        assert package not in known or release not in known[package]
