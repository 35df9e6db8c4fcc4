"""The nouns: what a Gamma Knife study, a lesion and a prediction are. Frozen; nothing here computes.

Images are ``SimpleITK.Image`` in patient LPS, mm. Contours are arrays ``(n, 3)`` of LPS points in mm.
Larger evidence always speaks for **non-response**.
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


@dataclass(frozen=True, eq=False)  # two are the same only where they are one: what is derived from it is kept by it
class Structure:
    """A region of interest; its contours are the truth, voxels are made from them on demand.

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
    """The dose of a whole plan: float32, one grid; ``sources`` are hashed SOP instance UIDs.

    ``unit`` is `GY` for physical dose and `GY_RBE` for dose weighted by biological effect; both are never mixed.
    """

    image: sitk.Image
    sources: tuple[str, ...]
    unit: str = GY


@dataclass(frozen=True)
class Prescription:
    """What was prescribed, per target where the plan says so.

    Attributes
    ----------
    dose_gy : total dose at the prescription isodose, Gy.
    isodose_percent : prescription isodose as percent of the maximum; None when not stated.
    fractions : number of fractions; None when not stated.
    by_roi : ROI number → Gy, where the plan prescribes targets differently.
    source : "RTPLAN" or "user".
    for_all : ``dose_gy`` is stated without naming a ROI; otherwise it is the highest of ``by_roi``.
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
    """The treatment plan as far as it is needed here; ``fractions`` also when it prescribes nothing.

    Attributes
    ----------
    unclear : ROI number (None: no ROI named) → doses (Gy) of which the plan does not say which is prescribed.
    status : Approval Status (300E,0002), "" when absent.
    ion : it is an RT Ion Plan, whose doses are weighted by biological effect as a rule.
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
    days_after_plan : distance in days, None when a date is unknown.
    files : the series.
    structures : RTSTRUCT and SEG files that were drawn on it.
    same_frame : it shares the Frame of Reference of the planning MR.
    to_plan : rigid map (4 × 4, LPS mm) of its points onto the planning MR that a DICOM registration states.
    date_source : title of the attribute that states its day, "" when unknown.
    chosen_structures, rival_structures : name of the first of ``structures``; names of those between which no rule
        decides, "" when one does.
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
    lesions : the ROIs taken for treated targets.
    dose : summed dose in Gy, or None when no RTDOSE belongs to the plan.
    plan : label and prescription, or None.
    follow_ups : later MR series, earliest first.
    warnings : what the reader must know about how the study was read.
    sources : hashed UIDs of the objects used, by role.
    day_zero : the date from which days count ("RT Plan Date (300A,0006) of the plan"), "" when unknown.
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
    """Dose to one lesion: Gy except ``coverage`` (share of the volume at or above the prescription, 0…1)."""

    mean_gy: float
    d98_gy: float
    d50_gy: float
    d2_gy: float
    prescription_gy: float
    coverage: float
    outside_grid: float
    unit: str = GY


@dataclass(frozen=True)
class Prediction:
    """The answer for one lesion.

    Attributes
    ----------
    lesion : the lesion it speaks of.
    volume_cc : volume of its contours, cm³.
    p_response, p_response_low, p_response_high : probability that the lesion shrinks by more than 20 % at
        about three months, and the spread of the ensemble (5th…95th percentile).
    label : "response", "non-response", or "indeterminate" when the interval straddles the threshold.
    evidence : share of the total per patch voxel (float32 on its own LPS grid, zero outside the lesion);
        its voxel sum + ``bias`` is ``total``.
    ensemble_sd : standard deviation of ``evidence`` over the ensemble, same grid.
    bias, total : logits of non-response.
    dose : metrics of the lesion, None without a dose.
    from_volume : the part of ``bias`` that the lesion's volume alone gives.
    checks : what the checks of the map found, by name; None where a lesion is too small for one.
    warnings : what must be read beside the number.
    """

    lesion: Lesion
    volume_cc: float
    p_response: float
    p_response_low: float
    p_response_high: float
    label: str
    evidence: sitk.Image
    ensemble_sd: sitk.Image
    bias: float
    total: float
    dose: DoseMetrics | None
    warnings: tuple[Warning, ...]
    from_volume: float = 0.0
    checks: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def quality_flags(self) -> tuple[str, ...]:
        """Why its evidence is not contoured unasked: no class, a failed check, or a map shared with another lesion."""
        return tuple(c.text for c in self.warnings if c.code.flags_map)


@dataclass(frozen=True)
class Result:
    """Everything that was found for one study.

    Attributes
    ----------
    cam : evidence as it is shown, float32 on the planning MR's voxels, cropped to the lesions, zero elsewhere.
        The logit of non-response the lesion had if all of it were like this voxel; its mean over a lesion is the
        lesion's logit.
    subregions : uint8 on the grid of ``cam``: number of the lesion where evidence exceeds ``subregion_threshold``.
    scale : the name of ``cam``'s scale.
    subregion_threshold : local evidence above which a voxel speaks for non-response.
    provenance : program, model and input identities; no patient data.
    """

    study: Study
    predictions: tuple[Prediction, ...]
    cam: sitk.Image
    subregions: sitk.Image
    scale: str
    subregion_threshold: float
    provenance: Mapping[str, str]
    warnings: tuple[Warning, ...]
