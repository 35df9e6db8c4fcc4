"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_out(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Where results go."""
    parser.add_argument("--out", type=Path, required=default is None, default=default and Path(default), metavar="DIR")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing DIR")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Which model predicts, and on what."""
    parser.add_argument("--model", type=Path, metavar="BUNDLE", help="default: the phantom model that ships")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def add_study(parser: argparse.ArgumentParser, dose: bool = True) -> None:
    """How a study is to be read, and what counts where its objects disagree (Docs/reading.md)."""
    parser.add_argument("study", type=Path, help="folder with the DICOM export, in any order and nesting")
    parser.add_argument("--series", help="part of the Series Description of the planning MR")
    parser.add_argument("--course", help="name (C2) or label of the course, where the folder holds several")
    parser.add_argument("--plan", metavar="NAME", help="label or file name of the plan, where several fit")
    parser.add_argument("--structures", metavar="NAME", help="label or file name of the structure set")
    parser.add_argument("--roi", action="append", default=[], help="ROI to take as a lesion (repeatable)")
    parser.add_argument(
        "--visit", action="append", default=[], metavar="TEXT",
        help="part of the Series Description of a follow-up that is not recognised (repeatable)",
    )  # fmt: skip
    if not dose:
        return
    parser.add_argument(
        "--prescription", action="append", metavar="GY|ROI=GY",
        help="of every target, or of one; it overrules the plan (repeatable)",
    )  # fmt: skip
    parser.add_argument("--isodose", type=float, metavar="PERCENT", help="prescription isodose of the dose maximum")
    parser.add_argument(
        "--dose", dest="dose_file", action="append", metavar="FILE",
        help="RTDOSE to use, where several differ; several are added up; none leaves the dose out (repeatable)",
    )  # fmt: skip
    parser.add_argument(
        "--dose-fractions", type=int, metavar="N", help="fractions that a FRACTION or BEAM dose stands for (1: all)"
    )
