"""Several trainings of one surrogate, each from a file of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

from sosie.errors import IntermediateError, SettingsError
from sosie.surrogates import Surrogate, load


def load_runs(paths: Sequence[str]) -> list[Surrogate]:
    """The trainings in files, of one surrogate and of different runs.

    Raises IntermediateError for a file that is damaged or belongs to another surrogate than the first.
    """
    found = [load(path) for path in paths]
    runs: dict[int | None, str] = {}
    for path, one in zip(paths, found, strict=True):
        first, origin = found[0], one.origin
        for what, own, wanted in (
            ("detector", origin.detector, first.origin.detector),
            ("kind", one.kind, first.kind),
            ("settings", one.settings, first.settings),
            ("samples", origin.provenance.get("inputs"), first.origin.provenance.get("inputs")),
            ("seed", origin.provenance.get("seed"), first.origin.provenance.get("seed")),
        ):
            if own != wanted:
                raise IntermediateError(
                    f"{path}: its {what} differ from those of {paths[0]}: {str(own)[:200]}; give "
                    "trainings of one surrogate, or run train again"
                )
        run = origin.provenance.get("run")
        if run in runs:
            raise IntermediateError(
                f"{path}: is run {run}, as {runs[run]} is; give each training once"
            )
        runs[run] = path
    return found


def load_earlier(
    paths: Sequence[str], run: int, settings: Mapping[str, Any], inputs: Mapping[str, str]
) -> tuple[Surrogate, ...]:
    """The trainings before a run, from which it keeps away; none where it is not repulsive.

    inputs: digests of the samples. Raises SettingsError for another number of files, and
    IntermediateError for files of another surrogate.
    """
    wanted = run if settings.get("method") == "repulsive" else 0
    if len(paths) != wanted:
        what = f"give those of runs 0 to {wanted - 1}" if wanted else "give none"
        raise SettingsError(f"--before: {len(paths)} files for run {run}; {what}")
    earlier = load_runs(paths)
    for path, one in zip(paths, earlier, strict=True):
        known = one.origin.provenance
        if (one.settings, known.get("inputs")) != (settings, inputs) or known.get(
            "run", run
        ) >= run:
            raise IntermediateError(
                f"{path}: is no training before run {run} of this surrogate; run train again to make it"
            )
    return tuple(earlier)


def load_teacher(
    path: str | None, settings: Mapping[str, Any], inputs: Mapping[str, str]
) -> Surrogate | None:
    """The trained surrogate that another one is distilled from; None where there is no teacher.

    inputs: digests of the samples. Raises SettingsError where ``settings`` name a teacher and there is
    no file or the other way round, and IntermediateError for a file that cannot be one.
    """
    name = settings.get("teacher")
    if (name is None) != (path is None):
        what = "give none" if name is None else f"give the training of '{name}'"
        raise SettingsError(f"--teacher {path or 'is missing'}: kind {settings['kind']}; {what}")
    if path is None:
        return None
    teacher = load(path)
    if teacher.kind != "flow_matching":
        raise IntermediateError(
            f"{path}: is of kind {teacher.kind}; give a training of kind flow_matching as the teacher"
        )
    if getattr(teacher, "masks", None) is None:
        raise IntermediateError(
            f"{path}: is a member of an ensemble; give what train made of the teacher"
        )
    if teacher.origin.provenance.get("inputs") != inputs:
        raise IntermediateError(
            f"{path}: was trained on other samples than those given; run train again to make it"
        )
    return teacher
