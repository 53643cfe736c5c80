"""What each step of the command does with its arguments."""

import argparse
from typing import Any

from sosie.errors import SettingsError, SosieError


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    from sosie.settings import section

    return dict(section(arguments.step, arguments.set).model_dump())


def run_ingest(arguments: argparse.Namespace) -> None:
    """ROOT ntuples to event tables, or the half of the validation sample for calibration."""
    from dataclasses import fields

    if arguments.calibration:
        from sosie import halves

        halves.run(arguments.calibration, arguments.out, seed=arguments.seed, code=arguments.code)
        return
    from sosie import ingest
    from sosie.layouts import Layout

    values = _settings(arguments)
    own = {f.name: values[f.name] for f in fields(Layout) if f.name in values}
    named = ("threshold", "split", "max_rejected", "test", "samples", "digests")
    settings = {
        "detector": arguments.detector,
        "seed": arguments.seed,
        "layout": Layout(**own),
        "code": arguments.code,
        "job_memory": arguments.memory * 10**6,
        **{name: values[name] for name in named},
    }
    if arguments.merge:
        from sosie import merge

        merge.run(arguments.merge, values["files"], arguments.out, **settings)
        return
    from sosie.seen import first_seen

    ingest.run(
        values["files"],
        arguments.out,
        seen=first_seen(arguments.seen) if arguments.seen else {},
        memory=values["memory_mb"] * 10**6,
        threads=arguments.threads,
        part=arguments.part,
        sample=arguments.sample,
        **settings,
    )


def run_preprocess(arguments: argparse.Namespace) -> None:
    """The transform of a training sample."""
    from sosie import preprocess

    preprocess.run(
        arguments.inputs,
        arguments.out,
        seed=arguments.seed,
        domain=arguments.domain,
        **_settings(arguments),
    )


def run_train(arguments: argparse.Namespace) -> None:
    """One surrogate."""
    from sosie import train

    settings, name = _settings(arguments), arguments.surrogate
    if name not in settings["surrogates"]:
        raise SettingsError(
            f"--surrogate {name}: not in --set; give surrogates.{name}={{kind: ...}} as JSON"
        )
    sample, validation, transform = arguments.inputs
    train.run(
        sample,
        validation,
        transform,
        arguments.out,
        curves=arguments.curves,
        work=arguments.work,
        settings=settings["surrogates"][name],
        masks=settings["masks"],
        seed=arguments.seed,
        run_number=arguments.run,
        threads=arguments.threads,
        code=arguments.code,
        tensorboard=arguments.tensorboard,
        times=arguments.times,
        before=arguments.before,
        teacher=arguments.teacher,
    )


def run_ensemble(arguments: argparse.Namespace) -> None:
    """The members of a surrogate."""
    from sosie import ensemble

    ensemble.run(arguments.inputs, arguments.out, arguments.domain)


def run_generate(arguments: argparse.Namespace) -> None:
    """Responses of members, or the time that they take."""
    from sosie import generate

    if arguments.times:
        from sosie import times

        if len(arguments.surrogate) + len(arguments.out) > 2:
            raise SosieError("--times: measures one surrogate; give one --surrogate and one --out")
        times.run(
            arguments.surrogate[0],
            arguments.conditions,
            arguments.out[0],
            seed=arguments.seed,
            full_simulation=_settings(arguments)["full_simulation"],
        )
        return
    if len(arguments.surrogate) != len(arguments.out):
        raise SosieError(
            f"--out: {len(arguments.out)} files for {len(arguments.surrogate)} surrogates; "
            "give one each"
        )
    for option, path in (
        ("--conditions", arguments.conditions),
        *(("--out", o) for o in arguments.out),
    ):
        if not path.endswith((".h5", ".root")):
            raise SosieError(f"{option} {path}: should end in .h5 or .root")
    if arguments.repeat < 1:
        raise SosieError(f"--repeat {arguments.repeat}: should be 1 or more")
    generate.run(
        arguments.surrogate,
        arguments.conditions,
        arguments.out,
        seed=arguments.seed,
        batch=(values := _settings(arguments))["batch"],
        outside=values["outside"],
        repeat=arguments.repeat,
        code=arguments.code,
    )


def run_moments(arguments: argparse.Namespace) -> None:
    """Moments in bins."""
    from sosie import moments

    reference, *generated = arguments.inputs
    moments.run(
        reference,
        generated,
        arguments.out,
        reconstruct=arguments.reconstruct,
        seed=arguments.seed,
        **_settings(arguments),
    )


def run_reconstruct(arguments: argparse.Namespace) -> None:
    """What the reconstruction makes of samples, or its calibration."""
    from sosie import reconstruct

    if arguments.calibrate:
        reconstruct.calibrate(arguments.calibrate, arguments.out)
        return
    if not arguments.inputs or not arguments.calibration:
        raise SosieError("give --calibrate TRAIN, or --calibration FILE and --in FILES")
    reference, *generated = arguments.inputs
    reconstruct.run(
        reference,
        generated,
        arguments.calibration,
        arguments.out,
        seed=arguments.seed,
        memory=arguments.memory * 10**6,
        **_settings(arguments),
    )


def run_compare(arguments: argparse.Namespace) -> int:
    """Distances and leaderboard, or the judgement of the gates; returns the exit code."""
    if arguments.gate:
        from sosie import gates

        judged = gates.read_gates(arguments.gate)
        print("\n".join(map(gates.line, judged)) or "no gates in compare.gates")
        return 0 if all(result["passed"] for result in judged) else 1
    if not arguments.out:
        raise SosieError("--out: missing; give the file of the figures or, to --collect, a folder")
    if arguments.collect:
        from sosie import leaderboard

        gates_asked = _settings(arguments)["gates"]
        leaderboard.collect(arguments.collect, arguments.out, gates_asked, arguments.repetition)
        return 0
    if arguments.member:
        from sosie import repetition

        if len(arguments.inputs or []) != 2:
            raise SosieError("--member: give --in TRAIN TEST, the training and the test sample")
        train, test = arguments.inputs
        repetition.run(
            arguments.member,
            train,
            test,
            arguments.out,
            name=arguments.surrogate,
            seed=arguments.seed,
            factor=_settings(arguments)["repetition"],
            memory=arguments.memory * 10**6,
        )
        return 0
    measured = arguments.moments, arguments.reconstruct
    if arguments.calibrate and all(measured):
        from sosie import trust

        trust.run(*measured, arguments.calibrate, arguments.out, name=arguments.surrogate)
        return 0
    if not all((arguments.inputs, *measured, arguments.training)):
        raise SosieError(
            "give --collect FILES, --gate FILE, --member FILE, --calibrate FILE with --moments FILES "
            "and --reconstruct FILES, or --in FILES, --moments FILE, --reconstruct FILE and --training FILE"
        )
    if any(len(files) > 1 for files in measured):
        raise SosieError("--moments, --reconstruct: give one file each, of the sample of --in")
    from sosie import compare

    reference, *generated = arguments.inputs
    compare.run(
        reference,
        generated,
        arguments.moments[0],
        arguments.reconstruct[0],
        arguments.out,
        trust=arguments.trust,
        training=arguments.training,
        name=arguments.surrogate,
        seed=arguments.seed,
        splits=(values := _settings(arguments))["splits"],
        classifier_splits=values["classifier_splits"],
        memory=arguments.memory * 10**6,
    )
    return 0


def run_report(arguments: argparse.Namespace) -> None:
    """The page."""
    from sosie import report

    report.run(
        arguments.inputs, arguments.out, folder_of_figures=arguments.figures, study=arguments.study
    )


def run_init(arguments: argparse.Namespace) -> None:
    """A study for an ntuple."""
    from sosie import init

    lines = init.run(
        arguments.files, arguments.out, detector=arguments.detector, tree=arguments.tree
    )
    print("\n".join(lines))


def run_convert(arguments: argparse.Namespace) -> None:
    """A published text format to ROOT."""
    from sosie import convert

    convert.run(arguments.source, arguments.out)
