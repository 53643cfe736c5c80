"""The command: ``sosie <step> --in ... --out ...``; parse, call, report errors, nothing else."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sosie import __version__, commands
from sosie.errors import SosieError
from sosie.locks import end_with_owner
from sosie.releases import check_releases

SET = "settings of this step as in the study file, as key=value"


def _step(
    steps: Any,
    name: str,
    action: Callable[[argparse.Namespace], int | None],
    text: str,
    settings: bool = True,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = steps.add_parser(name, help=text, description=text)
    parser.set_defaults(action=action, step=name)
    parser.add_argument("--code", default="", help="digest of the code, kept in the provenance")
    if settings:
        parser.add_argument("--seed", type=int, default=1, help="seed of the study (default 1)")
        parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help=SET)
    return parser


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--in",
        dest="inputs",
        nargs="+",
        metavar=("TEST", "GENERATED"),
        help="event table of the reference, then those of the members",
    )


def _add_memory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--memory", type=int, default=2000, metavar="MB", help="memory of the job (default 2000)"
    )


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command."""
    parser = argparse.ArgumentParser(
        prog="sosie",
        description="Surrogates of detector simulation: train, validate, report. "
        "Each step can be run by hand; 'snakemake --cores N all' runs them all.",
    )
    parser.add_argument("--version", action="version", version=f"sosie {__version__}")
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")

    p = _step(
        steps, "ingest", commands.run_ingest, "ROOT ntuples -> event tables train, validation, test"
    )
    p.add_argument("--detector", default="ecal", help="detector module (default ecal)")
    p.add_argument(
        "--calibration",
        metavar="VALIDATION",
        help="write the half of this table that chooses no weights instead",
    )
    p.add_argument(
        "--out", required=True, metavar="FOLDER|H5", help="folder of the tables, or that half"
    )
    p.add_argument("--threads", type=int, default=2, help="processor threads (default 2)")
    p.add_argument(
        "--part",
        action="append",
        default=[],
        metavar="FILE",
        help="read this one of the files alone, or several of them",
    )
    p.add_argument("--sample", default="", help="to --part: the sample of its own that they are of")
    p.add_argument(
        "--merge", nargs="+", metavar="FOLDER", help="list what --part gave as one table a sample"
    )
    p.add_argument(
        "--seen", metavar="FILE", help="record of earlier runs, whose digests the files must have"
    )
    _add_memory(p)

    p = _step(
        steps, "preprocess", commands.run_preprocess, "training sample -> transform.json, domain.h5"
    )
    p.add_argument("--in", dest="inputs", required=True, metavar="TRAIN", help="event table")
    p.add_argument("--domain", metavar="H5", help="write the domain of training, too")
    p.add_argument("--out", required=True, metavar="JSON", help="the transform")

    p = _step(
        steps, "train", commands.run_train, "training sample and transform -> trained surrogate"
    )
    p.add_argument(
        "--in",
        dest="inputs",
        nargs=3,
        required=True,
        metavar=("TRAIN", "VALIDATION", "TRANSFORM"),
        help="event tables and transform.json",
    )
    p.add_argument("--surrogate", required=True, help="its name in train.surrogates")
    p.add_argument("--run", type=int, default=0, help="number of the training, for its seed")
    p.add_argument(
        "--before", nargs="*", default=[], metavar="H5", help="the runs before a repulsive one"
    )
    p.add_argument(
        "--teacher", nargs="?", metavar="H5", help="the training that kind one_step learns from"
    )
    p.add_argument("--work", required=True, metavar="FOLDER", help="where checkpoints are kept")
    p.add_argument("--curves", required=True, metavar="CSV", help="the learning curves")
    p.add_argument("--out", required=True, metavar="H5", help="the trained surrogate")
    p.add_argument("--tensorboard", metavar="FOLDER", help="write the curves for TensorBoard too")
    p.add_argument("--times", metavar="JSON", help="time, device and peak memory of the training")
    p.add_argument("--threads", type=int, default=2, help="processor threads (default 2)")

    p = _step(
        steps, "ensemble", commands.run_ensemble, "trained surrogate -> members", settings=False
    )
    p.add_argument(
        "--in",
        dest="inputs",
        nargs="+",
        required=True,
        metavar="TRAINED",
        help="trained surrogate, or one for each member",
    )
    p.add_argument("--domain", metavar="H5", help="that of preprocess, to be kept in the members")
    p.add_argument("--out", nargs="+", required=True, metavar="H5", help="one file a member")

    p = _step(steps, "generate", commands.run_generate, "surrogate and conditions -> responses")
    p.add_argument("--surrogate", nargs="+", required=True, metavar="FILE", help="surrogate files")
    p.add_argument(
        "--conditions",
        required=True,
        metavar="FILE.root|FILE.h5",
        help="ntuple or event table; a response in it is not read",
    )
    p.add_argument(
        "--out",
        nargs="+",
        required=True,
        metavar="OUT.h5|OUT.root",
        help="one file for each surrogate; .root has the layout of the input ntuple",
    )
    p.add_argument(
        "--repeat", type=int, default=1, metavar="R", help="responses for each condition"
    )
    p.add_argument(
        "--times", action="store_true", help="measure the time of drawing; --out is one JSON"
    )

    p = _step(steps, "moments", commands.run_moments, "reference and generated -> moments in bins")
    _add_files(p)
    p.add_argument(
        "--reconstruct", metavar="H5", help="reconstruction of the same members, to be included"
    )
    p.add_argument("--out", required=True, metavar="H5", help="profiles, histograms and images")

    p = _step(
        steps,
        "reconstruct",
        commands.run_reconstruct,
        "reference and generated -> bias and resolution",
    )
    _add_files(p)
    p.add_argument("--calibrate", metavar="TRAIN", help="fit the constants on this table instead")
    p.add_argument("--calibration", metavar="JSON", help="the constants fitted with --calibrate")
    _add_memory(p)
    p.add_argument("--out", required=True, metavar="FILE", help="profiles, or the constants")

    p = _step(steps, "compare", commands.run_compare, "distances, classifier and leaderboard")
    _add_files(p)
    p.add_argument("--surrogate", default="surrogate", help="its name in the leaderboard")
    p.add_argument("--moments", nargs="+", metavar="H5", help="moments of the same members")
    p.add_argument(
        "--reconstruct", nargs="+", metavar="H5", help="reconstruction of the same members"
    )
    p.add_argument(
        "--calibrate",
        metavar="TRAIN",
        help="fit the scale of the spread on calibration.h5 and judge it on the other samples of "
        "--moments and --reconstruct instead; TRAIN: event table of the training sample",
    )
    p.add_argument(
        "--trust",
        nargs="?",
        metavar="JSON",
        help="what --calibrate gave, for the errors of an ensemble",
    )
    p.add_argument(
        "--training", metavar="H5", help="event table of the training sample, for memorisation"
    )
    p.add_argument(
        "--member", metavar="FILE", help="draw from it again and again instead; --in TRAIN TEST"
    )
    p.add_argument(
        "--repetition",
        nargs="*",
        default=[],
        metavar="JSON",
        help="to --collect: what --member gave",
    )
    p.add_argument("--collect", nargs="+", metavar="JSON", help="merge these instead")
    _add_memory(p)
    p.add_argument(
        "--gate", metavar="JSON", help="say which gates of a merged file passed; 1 if one failed"
    )
    p.add_argument("--out", metavar="JSON|FOLDER", help="figures, or the leaderboard")

    p = _step(steps, "report", commands.run_report, "everything -> one HTML page", settings=False)
    p.add_argument(
        "--in", dest="inputs", required=True, metavar="FOLDER", help="results of a study"
    )
    p.add_argument("--study", required=True, metavar="JSON", help="the study's configuration")
    p.add_argument("--figures", required=True, metavar="FOLDER", help="the figures one by one")
    p.add_argument("--out", required=True, metavar="HTML", help="the page")

    text = "ROOT ntuples -> a study file to begin with (no step: run it once, by hand)"
    p = steps.add_parser("init", help=text, description=text)
    p.set_defaults(action=commands.run_init)
    p.add_argument("files", nargs="+", metavar="FILE", help="ROOT files of one kind")
    p.add_argument("--detector", default="ecal", help="detector module (default ecal)")
    p.add_argument("--tree", help="TTree or RNTuple (default: the one with a response)")
    p.add_argument("--out", metavar="YAML", help="the study (default config/<name of FILE>.yaml)")

    text = "a published text format -> a ROOT ntuple that ingest reads"
    p = steps.add_parser("convert", help=text, description=text)
    p.set_defaults(action=commands.run_convert)
    p.add_argument("format", choices=["tpc-digits"], help="what SOURCE is")
    p.add_argument("source", metavar="SOURCE", help="the text file")
    p.add_argument("out", metavar="OUT", help="the ROOT file")
    return parser


def _check_places(arguments: argparse.Namespace) -> None:
    """Refuse, before anything is computed, what cannot be written."""
    from sosie.files import check_writable

    given = vars(arguments)
    folders = [Path(given[name]) for name in ("work", "figures") if given.get(name)]
    files = given.get("out") or []
    beside = [given[name] for name in ("curves", "times") if isinstance(given.get(name), str)]
    if arguments.step == "preprocess" and arguments.domain:
        beside.append(arguments.domain)
    files = [*([files] if isinstance(files, str) else files), *beside]
    tables = arguments.step == "ingest" and not arguments.calibration
    if tables or given.get("collect"):
        folders += map(Path, files)
    else:
        folders += [Path(file).parent for file in files]
    for folder in dict.fromkeys(folders):
        check_writable(folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one step; 0 when done, 1 where a quality gate failed, 2 with a line for each problem that the user can mend."""
    parsed = build_parser().parse_args(arguments)
    end_with_owner()
    try:
        check_releases()
        _check_places(parsed)
        code: int = parsed.action(parsed) or 0
    except SosieError as error:
        for line in str(error).splitlines():
            print(f"sosie {parsed.step}: {line}", file=sys.stderr)
        return 2
    return code


if __name__ == "__main__":
    sys.exit(main())
