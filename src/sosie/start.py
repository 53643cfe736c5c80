"""What a run refuses at its start, since Snakemake would take it for something else."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from sosie.errors import InputError, SettingsError
from sosie.files import UNPRINTED

MEANT = "<>{}"
"""Characters that mean something to Snakemake in a path."""
TEMPLATE = "__use_yte__"


def check_names(paths: Iterable[str | Path]) -> None:
    """Raise InputError for a path that Snakemake would fill in."""
    for path in map(str, paths):
        if set(MEANT) & set(path):
            shown = repr(path) if UNPRINTED.search(path) else path
            raise InputError(
                f"{shown}: {' '.join(MEANT)} mean something to Snakemake in a path; rename it"
            )


def check_studies(paths: Iterable[str | Path]) -> None:
    """Raise SettingsError for a study that is a template, a program that Snakemake runs as it reads it."""
    for path in paths:
        try:
            values: Any = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise SettingsError(f"{path}: cannot be read: {reason}") from None
        if isinstance(values, dict) and TEMPLATE in values:
            raise SettingsError(
                f"{path}: {TEMPLATE}: the expressions of a template are Python that Snakemake has "
                "evaluated by now; write plain values, and read a study that is not yours before you run it"
            )
