"""One way to change a study, and what is right afterwards: the values of the untouched study, others, or a refusal."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import generate_uid
from quirks import edit

Change = Callable[[Path], None]


@dataclass(frozen=True)
class Member:
    """One input of a kind.

    Attributes
    ----------
    name : of the test.
    change : alters the DICOM folder of the phantom study in place.
    refused : pattern of the error, "" when the study is read.
    warned, silent : codes that are among the study's warnings, and codes that are not. No other warning is louder than
        a note, but those that may stand ``beside``.
    options : of `load_study`.
    expected : what differs from the untouched study: "lesions" (names), "kind" (of the first), "rx_gy", "days" (of the
        follow-ups), "unit", "dose" (factor on the untouched dose, None: no dose), "later" (days), "mr" ("same",
        "padded", "elsewhere" or "resampled").
    """

    name: str
    change: Change
    refused: str = ""
    warned: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    expected: Mapping[str, Any] = field(default_factory=dict)


def on(file: str, alter: Callable[[pydicom.Dataset], None]) -> Change:
    """Alter one object of the plan: "RS", "RP" or "RD"."""
    return lambda folder: edit(folder / "plan_t1c" / f"{file}.dcm", alter)


def on_series(part: str, alter: Callable[[pydicom.Dataset, int], None]) -> Change:
    """Alter every slice of a series ("t1c", "follow_up"), given its number."""

    def change(folder: Path) -> None:
        for number, path in enumerate(sorted((folder / part).glob("*.dcm"))):
            edit(path, lambda data, number=number: alter(data, number))

    return change


def on_all(alter: Callable[[pydicom.Dataset, Path], None]) -> Change:
    """Alter every object of the folder."""

    def change(folder: Path) -> None:
        for path in sorted(folder.rglob("*.dcm")):
            edit(path, lambda data, path=path: alter(data, path))

    return change


def second(file: str, name: str, alter: Callable[[pydicom.Dataset], None], same_uid: bool = False) -> Change:
    """A changed copy of an object of the plan, under a UID of its own unless ``same_uid``."""

    def change(folder: Path) -> None:
        source, target = folder / "plan_t1c" / f"{file}.dcm", folder / "plan_t1c" / name
        shutil.copy(source, target)

        def renew(data: pydicom.Dataset) -> None:
            if not same_uid:
                data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[name])
            alter(data)

        edit(target, renew)

    return change


def both(*changes: Change) -> Change:
    """One change after the other."""

    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


def copied_series(folder: Path, source: str, target: str, alter: Callable[[pydicom.Dataset, int], None]) -> None:
    """A changed copy of a series as another one."""
    series = generate_uid(entropy_srcs=[target])
    (folder / target).mkdir()
    for number, path in enumerate(sorted((folder / source).glob("*.dcm"))):
        data = pydicom.dcmread(path)
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid(
            entropy_srcs=[target, str(number)]
        )
        data.SeriesInstanceUID = series
        alter(data, number)
        data.save_as(folder / target / path.name)


def uid_of(folder: Path, name: str) -> str:
    """SOP Instance UID of an object of the plan."""
    return str(pydicom.dcmread(folder / "plan_t1c" / name, stop_before_pixels=True).SOPInstanceUID)


def repeated(item: pydicom.Dataset, **values: Any) -> pydicom.Dataset:
    """A copy of a sequence's item with other values."""
    data = copy.deepcopy(item)
    for keyword, value in values.items():
        if value is None:
            del data[keyword]
        else:
            setattr(data, keyword, value)
    return data
