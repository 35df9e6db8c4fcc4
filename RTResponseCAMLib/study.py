"""Domain types: Gamma Knife study, lesion, prediction, result. Frozen dataclasses without computations.

Images are ``SimpleITK.Image`` in patient LPS, mm. Contours are arrays ``(n, 3)`` of LPS points in mm.
Larger evidence always indicates **non-response**.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from RTResponseCAMLib.warnings import Warning

if TYPE_CHECKING:
    import SimpleITK as sitk

FloatArray = npt.NDArray[np.floating[Any]]

GY, GY_RBE = "Gy", "Gy (RBE)"


@dataclass(frozen=True, eq=False)  # compared by identity: it is the key of caches of derived data
class Structure:
    """A region of interest; its contours are the reference, voxels are computed from them on demand.

    Attributes
    ----------
    number : ROI Number (3006,0022), the key within its structure set.
    name : ROI Name made unique within the study ("GTV", "GTV#2").
    kind : RT ROI Interpreted Type (3006,00A4), "" when absent.
    contours : closed planar polygons, each ``(n, 3)`` LPS mm, n ≥ 3; empty for a ROI without contours.
    color : display color, red, green, blue in 0…255.
    """

    number: int
    name: str
    kind: str
    contours: tuple[FloatArray, ...]
    color: tuple[int, int, int] = (255, 200, 0)


@dataclass(frozen=True)
class Dose:
    """Dose of a whole plan: float32 on one grid; ``sources`` are hashed SOP instance UIDs.

    ``unit`` is `GY` for physical dose and `GY_RBE` for RBE-weighted dose; the two are never mixed.
    """

    image: sitk.Image
    sources: tuple[str, ...]
    unit: str = GY


@dataclass(frozen=True)
class Prescription:
    """Prescribed dose, per target where the plan states it per target.

    Attributes
    ----------
    dose_gy : total dose at the prescription isodose, Gy.
    isodose_percent : prescription isodose as percent of the maximum; None when not stated.
    fractions : number of fractions; None when not stated.
    by_roi : ROI number → Gy, where the plan prescribes different doses to its targets.
    source : "RTPLAN" or "user".
    for_all : True: ``dose_gy`` is stated without naming a ROI; False: it is the highest value of ``by_roi``.
    """

    dose_gy: float
    isodose_percent: float | None = None
    fractions: int | None = None
    by_roi: Mapping[int, float] = field(default_factory=dict)
    source: str = "RTPLAN"
    for_all: bool = True

    def dose_for(self, structure: Structure) -> float:
        """Prescribed dose of one target, Gy."""
        return self.by_roi.get(structure.number, self.dose_gy)


@dataclass(frozen=True)
class Plan:
    """Treatment plan; ``fractions`` is set even when the plan states no prescription.

    Attributes
    ----------
    unclear : ROI number (None: no ROI named) → candidate doses (Gy); the plan does not state which one is prescribed.
    status : Approval Status (300E,0002), "" when absent.
    ion : whether it is an RT Ion Plan; its doses are usually RBE-weighted.
    beams : numbers of its beams.
    """

    label: str
    prescription: Prescription | None
    fractions: int | None = None
    unclear: Mapping[int | None, tuple[float, ...]] = field(default_factory=dict)
    status: str = ""
    ion: bool = False
    beams: frozenset[int] = frozenset()


@dataclass(frozen=True)
class FollowUp:
    """A later MR series found beside the plan.

    Attributes
    ----------
    days_after_plan : time from plan to series in days, None when a date is unknown.
    files : files of the series.
    structures : RTSTRUCT and SEG files that were contoured on it.
    same_frame : whether it shares the Frame of Reference of the planning MR.
    to_plan : rigid transform (4 × 4, LPS mm) from its points to the planning MR, as stated by a DICOM registration.
    date_source : title of the attribute that states its day, "" when unknown.
    chosen_structures, rival_structures : name of the first of ``structures``; names of candidates between which no
        rule decides, "" when a rule decides.
    """

    description: str
    days_after_plan: int | None
    files: tuple[str, ...]
    structures: tuple[str, ...] = ()
    same_frame: bool = False
    to_plan: tuple[tuple[float, ...], ...] | None = None
    date_source: str = ""
    chosen_structures: str = ""
    rival_structures: str = ""


@dataclass(frozen=True)
class Lesion:
    """One treated target; ``id`` is stable across plan and follow-ups ("L1", "L2", … by ROI number)."""

    id: str
    structure: Structure


@dataclass(frozen=True)
class Study:
    """One Gamma Knife treatment of one patient, read once.

    Attributes
    ----------
    patient : pseudonym made from the hashed Patient ID; never the name or the ID.
    mr : planning MR (contrast-enhanced T1), float32, LPS mm.
    mr_description : Series Description of the planning MR.
    structures : every ROI of the chosen structure set.
    lesions : the ROIs identified as treated targets.
    dose : summed dose in Gy, or None when no RTDOSE belongs to the plan.
    plan : label and prescription, or None.
    follow_ups : later MR series, earliest first.
    warnings : warnings on how the study was read.
    sources : hashed UIDs of the objects used, by role.
    day_zero : the date from which days are counted ("RT Plan Date (300A,0006) of the plan"), "" when unknown.
    """

    patient: str
    mr: sitk.Image
    mr_description: str
    structures: tuple[Structure, ...]
    lesions: tuple[Lesion, ...]
    dose: Dose | None
    plan: Plan | None
    follow_ups: tuple[FollowUp, ...]
    warnings: tuple[Warning, ...]
    sources: Mapping[str, str]
    day_zero: str = ""


@dataclass(frozen=True)
class DoseMetrics:
    """Dose to one lesion in Gy; ``coverage`` and ``outside_grid`` are fractions of its volume, 0…1.

    Attributes
    ----------
    coverage : fraction of the volume at or above the prescription.
    outside_grid : fraction of the volume outside the dose grid.
    """

    mean_gy: float
    d98_gy: float
    d50_gy: float
    d2_gy: float
    prescription_gy: float
    coverage: float
    outside_grid: float
    unit: str = GY


def text_of_p(p: float, low: float, *, high: float) -> str:
    """A probability with its interval; without one, ``low`` and ``high`` are equal."""
    return f"{p:.2f} ({low:.2f}–{high:.2f})" if low < high else f"{p:.2f}"


@dataclass(frozen=True)
class Prediction:
    """Prediction for one lesion.

    Attributes
    ----------
    lesion : the predicted lesion.
    volume_cc : volume of its contours, cm³.
    p_response, p_response_low, p_response_high : probability that the lesion shrinks by more than 20 % at
        about three months, and the interval of the ensemble (5th…95th percentile); without one, all are equal.
    label : "response", "non-response", or "indeterminate" when the interval contains the class threshold.
    class_threshold : p_response from which the model calls a lesion responding.
    evidence : share of each patch voxel in the logit (float32 on its own LPS grid, zero outside the lesion);
        its voxel sum + ``bias`` is ``total``.
    ensemble_sd : standard deviation of ``evidence`` over the ensemble, same grid.
    bias, total : logits of non-response.
    dose : dose metrics of the lesion, None without a dose.
    from_volume : the part of ``bias`` that results from the lesion's volume alone.
    contributions : what each member of an ensemble of models adds to ``total``, by the member's name; empty for others.
    training_distance, training_p : distance from the training lesions in standard deviations, and its p-value (small:
        unlike them), see `models.familiarity`; None for a model that does not store them.
    checks : results of the map's checks, by name; None where a lesion is too small for a check.
    warnings : warnings on this prediction.
    """

    lesion: Lesion
    volume_cc: float
    p_response: float
    p_response_low: float
    p_response_high: float
    label: str
    class_threshold: float
    evidence: sitk.Image
    ensemble_sd: sitk.Image
    bias: float
    total: float
    dose: DoseMetrics | None
    warnings: tuple[Warning, ...]
    from_volume: float = 0.0
    contributions: Mapping[str, float] = field(default_factory=dict)
    training_distance: float | None = None
    training_p: float | None = None
    checks: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def p_text(self) -> str:
        """p(response) with its interval, where the model gives one."""
        return text_of_p(self.p_response, self.p_response_low, high=self.p_response_high)

    @property
    def quality_flags(self) -> tuple[str, ...]:
        """Why its evidence is not contoured by default: no class, failed check, or map shared with another lesion."""
        return tuple(warning.text for warning in self.warnings if warning.code.flags_map)


@dataclass(frozen=True)
class Result:
    """Results of one study.

    Attributes
    ----------
    cam : evidence map for display, float32 on the planning MR's voxels, cropped to the lesions, zero elsewhere.
        A voxel's value is the logit of non-response that the lesion would have if all of it were like this voxel;
        the mean over a lesion is the lesion's logit.
    subregions : uint8 on the grid of ``cam``: number of the lesion where evidence exceeds ``subregion_threshold``.
    scale : name of the scale of ``cam``.
    subregion_threshold : evidence (logit) above which a voxel indicates non-response.
    provenance : identities of program, model and inputs; no patient data.
    """

    study: Study
    predictions: tuple[Prediction, ...]
    cam: sitk.Image
    subregions: sitk.Image
    scale: str
    subregion_threshold: float
    provenance: Mapping[str, str]
    warnings: tuple[Warning, ...]
