"""Sample of one lesion: all data that a model may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.study import DoseMetrics

Features = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class LesionSample:
    """A sampled lesion. Two samples are equal only if they are the same object.

    Attributes
    ----------
    patch : MR, dose and partial-volume fraction around the lesion; None where there are no images.
    volume_cc : volume of its contours, cm³; NaN where it is unknown.
    features : family → name → value; a family that could not be measured is absent.
    dose : dose metrics, None without a dose.
    patient, course, lesion : identifiers; folds never split a patient.
    label : 1 non-response, 0 response, None unknown.
    index : number of the lesion in its cohort, from 1; the augmented copies of a lesion depend on it, so that they are
        the same in every fold.
    missing : reason why an input is absent, by the name of the family, or by "dose" or "images".
    """

    patch: Patch | None
    volume_cc: float = float("nan")
    features: Mapping[str, Features] = field(default_factory=dict)
    dose: DoseMetrics | None = None
    patient: str = ""
    course: str = ""
    lesion: str = ""
    label: int | None = None
    index: int = 1
    missing: Mapping[str, str] = field(default_factory=dict)


def patch_of(sample: LesionSample) -> Patch:
    """The patch of a sample.

    Raises
    ------
    ModelError : the sample has no patch.
    """
    if sample.patch is None:
        raise ModelError("model", f"lesion '{sample.lesion}' has no image, which the model needs", "Supply images")
    return sample.patch
