"""Errors that are shown to users: each states the place, the cause and the fix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from RTResponseCAMLib.translation import tr_sentence


class RTResponseError(Exception):
    """Base of every error that this library raises on purpose.

    Parameters
    ----------
    where : file, folder, tag or column with the problem ("" when there is none).
    what : the cause: what was found and what was expected.
    fix : what the user can do.
    """

    def __init__(self, where: str | Path, what: str, fix: str) -> None:
        self.where, self.what, self.fix = str(where), what, fix
        prefix = f"{self.where}: " if self.where else ""
        super().__init__(f"{prefix}{what}. {fix}.")

    def translated(self) -> str:
        """The message in the language of the panel; ``str`` gives it in English. The place stays as it is."""
        prefix = f"{self.where}: " if self.where else ""
        return f"{prefix}{tr_sentence(self.what)}. {tr_sentence(self.fix)}."

    def reworded(self, change: Callable[[str], str]) -> RTResponseError:
        """The same error with ``change`` applied to its texts; the place stays."""
        return type(self)(self.where, change(self.what), change(self.fix))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        # Pickling keeps the attributes of an error of another process; the default keeps its message only.
        attributes = {name: value for name, value in vars(self).items() if name not in ("where", "what", "fix")}
        return _raised_elsewhere, (type(self), self.where, self.what, self.fix, attributes)


def _raised_elsewhere(
    kind: type[RTResponseError], where: str, what: str, fix: str, more: dict[str, Any]
) -> RTResponseError:
    return kind(where, what, fix, **more)


class StudyError(RTResponseError):
    """A DICOM study, or a file of it, cannot be used as it is."""


class QuestionError(StudyError):
    """Objects of a study are inconsistent, and the user must decide which of them to use.

    Parameters
    ----------
    option : field of `dicom.options.ReadOptions` that takes the answer.
    choices : pairs of a possible answer and its displayed text; empty where any value is possible.
    """

    def __init__(
        self, where: str | Path, what: str, fix: str, *, option: str, choices: Sequence[tuple[Any, str]] = ()
    ) -> None:
        super().__init__(where, what, fix)
        self.option, self.choices = option, tuple(choices)

    def reworded(self, change: Callable[[str], str]) -> QuestionError:
        """The same question with ``change`` applied to its texts; the answers stay."""
        choices = [(answer, change(text)) for answer, text in self.choices]
        return QuestionError(self.where, change(self.what), change(self.fix), option=self.option, choices=choices)


class GeometryError(RTResponseError):
    """Shapes, grids or frames of reference do not fit together."""


class ModelError(RTResponseError):
    """A model bundle is missing, damaged, or does not fit the input."""


class CohortError(RTResponseError):
    """A cohort's manifest or labels cannot be used."""


class OutputError(RTResponseError):
    """A result cannot be written to the requested place."""


class ExistsError(OutputError):
    """A result would replace an existing file or folder."""
