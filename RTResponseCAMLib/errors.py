"""The one family of errors that users may see: each names the place, what was found, and what to do."""

from __future__ import annotations

from pathlib import Path


class RTResponseError(Exception):
    """Base of every error that this library raises on purpose.

    Parameters
    ----------
    where : file, folder, tag or column that is at fault ("" when there is none).
    what : what was found and what was expected.
    fix : what the user can do about it.
    """

    def __init__(self, where: str | Path, what: str, fix: str) -> None:
        self.where, self.what, self.fix = str(where), what, fix
        place = f"{self.where}: " if self.where else ""
        super().__init__(f"{place}{what}. {fix}.")


class StudyError(RTResponseError):
    """A DICOM study, or a file of it, cannot be used as it is."""


class GeometryError(RTResponseError):
    """Shapes, grids or frames of reference do not fit together."""


class ModelError(RTResponseError):
    """A model bundle is missing, damaged, or does not fit the input."""


class CohortError(RTResponseError):
    """A cohort's manifest or labels cannot be used."""


class OutputError(RTResponseError):
    """A result cannot be written where the user asked for it."""


class ExistsError(OutputError):
    """A result would replace something that is there already."""
