"""``rtresponsecam``: the command line. Exit codes: 0 done, 1 failed, 2 bad input, 130 cancelled."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from RTResponseCAMLib import __version__, commands
from RTResponseCAMLib.commands.options import add_model, add_out, add_study
from RTResponseCAMLib.errors import ExistsError, OutputError, RTResponseError
from RTResponseCAMLib.progress import Cancelled, Progress

DONE, FAILED, BAD_INPUT, CANCELLED = 0, 1, 2, 130
DATA_SETS = ("proteas", "brain-tr-gk", "vs-seg", "ucsf-bmsr", "openbtai", "plain")
VARIANTS = ("darker", "texture", "volume", "none")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors are one line on stderr, never a traceback."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace, Progress], None] = options.run
    warnings.filterwarnings("ignore", module="pydicom")  # remarks on others' files; what matters is a warning
    logging.getLogger("pydicom").setLevel(logging.ERROR)
    in_main = threading.current_thread() is threading.main_thread()
    bar = _Bar(quiet=options.quiet or getattr(options, "json", False))

    def stop(number: int, frame: FrameType | None) -> None:
        bar.stopped = True
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM) if in_main}
    try:
        command(options, bar)
    except (KeyboardInterrupt, Cancelled):
        bar.close()
        print("cancelled; nothing half-written remains", file=sys.stderr)
        return CANCELLED
    except RTResponseError as error:
        bar.close()
        print(f"error: {error}", file=sys.stderr)
        return FAILED if isinstance(error, OutputError) and not isinstance(error, ExistsError) else BAD_INPUT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (OSError, MemoryError, RuntimeError, ValueError) as error:
        if os.environ.get("RTRESPONSECAM_DEBUG"):
            raise
        bar.close()
        print(
            f"failed: {type(error).__name__}: {error} (set RTRESPONSECAM_DEBUG=1 for details)",
            file=sys.stderr,
        )
        return FAILED
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    bar.close()
    return DONE


class _Bar:
    """Progress as a bar on stderr; silent when quiet.

    ``stopped`` remembers an interrupt, because one that arrives within the import of a C extension is lost.
    """

    def __init__(self, quiet: bool) -> None:
        from tqdm import tqdm

        self.stopped = False

        style = "{desc:<34.34} {percentage:3.0f}% |{bar:30}| {elapsed}"
        self._bar = tqdm(total=1.0, disable=quiet or not sys.stderr.isatty(), bar_format=style, file=sys.stderr)

    def __call__(self, fraction: float, text: str = "") -> None:
        if self.stopped:
            raise Cancelled
        if text:
            self._bar.set_description_str(text, refresh=False)
        self._bar.update(max(min(fraction, 1.0) - self._bar.n, 0.0))

    def close(self) -> None:
        self._bar.close()


def _demo(options: argparse.Namespace, progress: Progress) -> None:
    study, result = options.out / "study", options.out / "result"
    base = ["--overwrite"] if options.overwrite else []
    common = ["--quiet"] if options.quiet else []
    phantom = [
        *common,
        "phantom",
        "study",
        "--seed",
        str(options.seed),
        "--lesions",
        "4",
        "--out",
        str(study),
        *base,
    ]
    predict = [
        *common,
        "predict",
        str(study / "dicom"),
        "--out",
        str(result),
        "--pictures",
        "--profile",
        *base,
    ]
    _close(progress)
    for step in (phantom, predict):
        print("$ rtresponsecam " + " ".join(step), flush=True)
        code = main(step)
        if code == CANCELLED:
            raise Cancelled
        if code != DONE:
            raise RTResponseError("demo", "a step failed", "See the message above")
    print(f"\nOpen {result / 'report.html'} in a browser and {result / 'scene.mrb'} in 3D Slicer.")
    print(f"What was planted, and how each lesion answered, lies in {study / 'truth' / 'truth.json'}.")


def _close(progress: Progress) -> None:
    if isinstance(progress, _Bar):
        progress.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rtresponsecam",
        description="Pixel-wise evidence of Gamma Knife response in brain metastases. Research use only.",
    )
    parser.add_argument("--version", action="version", version=f"rtresponsecam {__version__}")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    groups = parser.add_subparsers(required=True, metavar="command")
    _add_demo(groups)
    _add_phantom(groups)
    _add_inspect(groups)
    _add_train(groups)
    _add_evaluate(groups)
    _add_predict(groups)
    _add_dvh(groups)
    _add_subregion(groups)
    _add_align(groups)
    _add_follow_up(groups)
    _add_cohort(groups)
    return parser


def _command(groups: Any, name: str, run: Callable[..., None], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = groups.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    return parser


def _add_demo(groups: Any) -> None:
    demo = _command(groups, "demo", _demo, "make a phantom study and run the main job on it")
    demo.add_argument("--seed", type=int, default=11)
    add_out(demo, "demo")


def _add_phantom(groups: Any) -> None:
    phantom = groups.add_parser("phantom", help="synthetic studies with known truth")
    kinds = phantom.add_subparsers(required=True, metavar="kind")
    study = _command(kinds, "study", commands.phantom_study, "one synthetic patient as DICOM, its truth beside it")
    study.add_argument("--variant", choices=VARIANTS, default="texture", help="how the resistant part shows")
    study.add_argument("--patient", type=int, default=1)
    cohort = _command(kinds, "cohort", commands.phantom_cohort, "many synthetic patients and a manifest")
    cohort.add_argument("--patients", type=int, required=True)
    cohort.add_argument(
        "--variants", default="darker,texture,volume", help=f"comma-separated, of {', '.join(VARIANTS)}"
    )
    cohort.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    cohort.add_argument("--total-lesions", type=int, metavar="N", help="lesions of all patients together")
    for parser, matrix in ((study, (208, 240, 168)), (cohort, (184, 216, 156))):
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument("--lesions", type=int, help="targets per patient (default: drawn, 1 to 5)")
        parser.add_argument("--matrix", type=int, nargs=3, default=matrix, metavar=("COLUMNS", "ROWS", "SLICES"))
        parser.add_argument("--spacing", type=float, nargs=3, default=(1.0, 1.0, 1.0), metavar="MM")
        parser.add_argument("--tilt", type=float, default=0.0, metavar="DEG", help="tilt of the MR slices")
        parser.add_argument("--dose-files", choices=("one", "per-target"), default="one")
        parser.add_argument("--second-series", action="store_true", help="also a T2 series with its copy of the plan")
        parser.add_argument("--no-rtplan", action="store_true")
        parser.add_argument("--no-follow-up", action="store_true")
        parser.add_argument("--mid-treatment", action="store_true", help="also an MR of day 30")
        add_out(parser)


def _add_inspect(groups: Any) -> None:
    inspect = _command(groups, "inspect", commands.inspect, "list what a folder holds and what of it would be used")
    add_study(inspect)
    inspect.add_argument("--json", action="store_true")


def _add_train(groups: Any) -> None:
    train = _command(groups, "train", commands.train, "fit a model on a cohort and write a bundle")
    train.add_argument("cohort", type=Path, help="folder with manifest.csv")
    train.add_argument("--name", default="unnamed model")
    train.add_argument("--description", default="")
    train.add_argument("--caution", action="append", default=[], help="sentence shown beside every result (repeatable)")
    train.add_argument("--cohort-note", default="", help="how the cohort was made, for the card")
    train.add_argument("--approach", metavar="MODEL", help="default: the first that explains itself")
    commands.add_model_options(train)
    add_out(train)


def _add_evaluate(groups: Any) -> None:
    text = "compare models on a cohort, without leaks; resumes what was interrupted"
    evaluate = _command(groups, "evaluate", commands.evaluate, text)
    evaluate.add_argument("cohort", type=Path, help="folder with manifest.csv")
    evaluate.add_argument("--external", type=Path, metavar="COHORT", help="other patients, to evaluate every model on")
    evaluate.add_argument("--models", help="comma-separated names; the baselines always run")
    evaluate.add_argument(
        "--features", action="append", default=[], metavar="NAME=TABLE",
        help="CSV of features by patient_group_id, course and lesion, as a model of its own (repeatable)",
    )  # fmt: skip
    evaluate.add_argument("--folds", type=int, default=5)
    evaluate.add_argument("--repeats", type=int, default=3)
    evaluate.add_argument("--steps", type=int, default=240, help="optimization steps, of models that have them")
    evaluate.add_argument(
        "--indeterminate", choices=("unlabelled", "as-labelled"), default="unlabelled",
        help="lesions whose change may lie on either side of the threshold",
    )  # fmt: skip
    evaluate.add_argument("--settings", type=Path, metavar="JSON", help="of pyradiomics")
    evaluate.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    evaluate.add_argument("--seed", type=int, default=0)
    evaluate.add_argument("--json", action="store_true", help="result.json on standard output")
    add_out(evaluate)


def _add_follow_up(groups: Any) -> None:
    from RTResponseCAMLib.response.conventions import CONVENTIONS
    from RTResponseCAMLib.response.trajectory import TARGET_DAYS, WINDOW_DAYS
    from RTResponseCAMLib.response.volume import BOUNDARY_MM

    text = "register the follow-ups of a study, measure its lesions, and name the response"
    follow = _command(groups, "follow-up", commands.follow_up, text)
    add_study(follow, dose=False)
    follow.add_argument(
        "--transform", action="append", default=[], metavar="F1=FILE",
        help="rigid transform to use instead of registering (planning points onto follow-up points; repeatable)",
    )  # fmt: skip
    follow.add_argument(
        "--mask", action="append", default=[], metavar="F1=FILE",
        help="label map of a follow-up's lesions, on its grid or the planning MR's (repeatable)",
    )  # fmt: skip
    follow.add_argument(
        "--mask-values", type=int, nargs="+", metavar="N", help="labels of --mask that make up lesions together (1 3)"
    )
    follow.add_argument("--boundary-mm", type=float, default=BOUNDARY_MM, help="95 %% half-width of a contour's place")
    follow.add_argument("--no-proposals", action="store_true", help="nothing drawn stays unknown")
    follow.add_argument("--convention", choices=tuple(CONVENTIONS), default="volume-20", help="of the label")
    follow.add_argument("--response-below", type=float, metavar="PERCENT", help="of the convention, e.g. -30")
    follow.add_argument("--progression-above", type=float, metavar="PERCENT", help="of the convention, e.g. 40")
    follow.add_argument("--target-day", type=int, default=TARGET_DAYS, metavar="DAY", help="of the label")
    follow.add_argument("--window", type=int, nargs=2, default=WINDOW_DAYS, metavar="DAY", help="of the label")
    follow.add_argument("--json", action="store_true", help="follow_up.json on standard output")
    add_out(follow)


def _add_cohort(groups: Any) -> None:
    cohort = groups.add_parser("cohort", help="many studies under one manifest")
    kinds = cohort.add_subparsers(required=True, metavar="kind")
    text = "write a manifest for a public data set, or for a plain folder of image files"
    reader = _command(kinds, "import", commands.cohort_import, text)
    reader.add_argument("data_set", choices=DATA_SETS)
    reader.add_argument("source", type=Path, help="folder of the unpacked data set")
    reader.add_argument("--json", action="store_true")
    add_out(reader)
    check = _command(kinds, "check", commands.cohort_check, "read every case of a manifest and list what is wrong")
    check.add_argument("cohort", type=Path, help="folder with manifest.csv")
    check.add_argument("--json", action="store_true")


def _add_dvh(groups: Any) -> None:
    text = "dose-volume histograms of all structures, and indices of the plan for each target"
    histograms = _command(groups, "dvh", commands.dvh, text)
    add_study(histograms)
    histograms.add_argument(
        "--interpolation", choices=("linear", "cubic", "quintic"), default="linear",
        help="of the dose between grid points: linear as planning systems do, the others for coarse grids",
    )  # fmt: skip
    histograms.add_argument("--json", action="store_true", help="dvh.json on standard output")
    add_out(histograms)


def _add_subregion(groups: Any) -> None:
    text = "contour the evidence of each lesion, and measure its dose against the rest of the lesion"
    measured = _command(groups, "subregion", commands.subregion, text)
    measured.add_argument("--json", action="store_true", help="subregions.json on standard output")
    text = "subregions as RTSTRUCT and DICOM SEG, and the evidence as Parametric Map"
    exported = _command(groups, "export", commands.export, text)
    exported.add_argument(
        "--format", action="append", choices=("rtstruct", "seg", "map"), help="one of them (repeatable; default: all)"
    )
    for command in (measured, exported):
        add_study(command)
        add_model(command)
        choice = command.add_argument_group("the subregion")
        choice.add_argument(
            "--method", choices=("value", "percentile", "otsu", "volume"), default="value",
            help="evidence above --value, above that percentile of the lesion, Otsu's threshold, or the hottest cm³",
        )  # fmt: skip
        choice.add_argument(
            "--value", type=float, help="of the method (for value: where evidence begins to speak for it)"
        )
        choice.add_argument("--smooth", type=float, default=0.0, metavar="MM", help="standard deviation of a Gaussian")
        choice.add_argument("--minimum", type=float, default=0.0, metavar="CM3", help="leave out smaller components")
        choice.add_argument("--largest", type=int, default=0, metavar="N", help="keep the N largest components only")
        choice.add_argument("--margin", type=float, default=0.0, metavar="MM", help="grow, or shrink by a negative one")
        choice.add_argument("--unclipped", action="store_true", help="let a margin leave the lesion")
        choice.add_argument("--anyway", action="store_true", help="contour lesions in doubt too; the doubt goes along")
        choice.add_argument("--boost", type=float, metavar="GY", help="what if: lift the subregion's D98 to that dose")
        choice.add_argument(
            "--interpolation", choices=("linear", "cubic", "quintic"), default="linear", help="of the dose"
        )
        add_out(command)


def _add_align(groups: Any) -> None:
    text = "lay maps over cell-level data: measured points, a registered slide, habitats"
    aligned = _command(groups, "align", commands.align, text)
    aligned.add_argument(
        "studies", type=Path, nargs="+", help="folders with the DICOM exports; their names are studies"
    )
    aligned.add_argument("--points", type=Path, metavar="CSV", help="columns x, y, z, value; type, study, frame")
    aligned.add_argument("--frame", choices=("LPS", "RAS"), help="of the points' coordinates (mm)")
    aligned.add_argument("--radius", type=float, default=1.5, metavar="MM", help="of the sphere around a point")
    aligned.add_argument("--error", type=float, default=1.0, metavar="MM", help="standard deviation of a point's place")
    aligned.add_argument("--slide", type=Path, metavar="IMAGE", help="registered raster, such as cell density")
    aligned.add_argument("--transform", type=Path, metavar="TFM", help="rigid (ITK), moves the slide onto the MR")
    aligned.add_argument("--block", type=float, default=1.5, metavar="MM", help="blocks of the slide that are averaged")
    aligned.add_argument("--habitats", type=Path, metavar="LABELS", help="label map: necrosis, enhancement, oedema …")
    aligned.add_argument("--json", action="store_true", help="alignment.json on standard output")
    add_model(aligned)
    add_out(aligned)


def _add_predict(groups: Any) -> None:
    predict = _command(groups, "predict", commands.predict, "probability and evidence map for each lesion of a study")
    add_model(predict)
    add_study(predict)
    predict.add_argument("--no-scene", action="store_true", help="without scene.mrb")
    predict.add_argument("--pictures", action="store_true", help="also Slicer's slice views as PNG")
    predict.add_argument("--profile", action="store_true", help="seconds per stage")
    predict.add_argument("--json", action="store_true", help="result.json on standard output")
    add_out(predict)


if __name__ == "__main__":
    sys.exit(main())
