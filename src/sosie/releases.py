"""Releases of packages that must not be run: refused by their metadata, before anything imports them."""

from importlib.metadata import PackageNotFoundError, version

from packaging.specifiers import SpecifierSet

from sosie.errors import SosieError

SOUND = {
    # 2.6.2 and 2.6.3 steal credentials when they are imported (GHSA-w37p-236h-pfx3).
    "lightning": "!=2.6.2,!=2.6.3",
    "pytorch-lightning": "!=2.6.2,!=2.6.3",
    # Files of earlier ones can set attributes and read other files (CVE-2026-34445, CVE-2026-27489).
    "onnx": ">=1.21",
}


def is_sound(package: str, release: str) -> bool:
    """Whether a release is none of those that are known to be bad."""
    return SpecifierSet(SOUND.get(package, "")).contains(release, prereleases=True)


def check_releases() -> None:
    """Raise SosieError where a release that is known to be bad is installed."""
    for package, sound in SOUND.items():
        try:
            release = version(package)
        except PackageNotFoundError:
            continue
        if not is_sound(package, release):
            raise SosieError(
                f"{package} {release}: is installed, and known to be malicious or unsafe; remove it "
                f"and what it may have reached, and take {package}{sound}"
            )
