"""The one family of errors that users may see: each names the place, what was found, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


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

    def reworded(self, change: Callable[[str], str]) -> RTResponseError:
        """The same error with its texts changed; the place stays."""
        return type(self)(self.where, change(self.what), change(self.fix))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        # An error of another process arrives as it was raised, not as one message.
        more = {name: value for name, value in vars(self).items() if name not in ("where", "what", "fix")}
        return _raised_elsewhere, (type(self), self.where, self.what, self.fix, more)


def _raised_elsewhere(
    kind: type[RTResponseError], where: str, what: str, fix: str, more: dict[str, Any]
) -> RTResponseError:
    return kind(where, what, fix, **more)


class StudyError(RTResponseError):
    """A DICOM study, or a file of it, cannot be used as it is."""


class QuestionError(StudyError):
    """Objects of a study disagree, and only the user can say which counts.

    Parameters
    ----------
    option : field of `dicom.options.ReadOptions` that answers.
    choices : pairs of an answer and what is shown for it; empty where any value may be the answer.
    """

    def __init__(
        self, where: str | Path, what: str, fix: str, *, option: str, choices: Sequence[tuple[Any, str]] = ()
    ) -> None:
        super().__init__(where, what, fix)
        self.option, self.choices = option, tuple(choices)

    def reworded(self, change: Callable[[str], str]) -> QuestionError:
        """The same question with its texts changed; the answers stay."""
        shown = [(answer, change(text)) for answer, text in self.choices]
        return QuestionError(self.where, change(self.what), change(self.fix), option=self.option, choices=shown)


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
