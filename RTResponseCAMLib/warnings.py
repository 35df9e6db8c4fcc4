"""All warnings in one table: code, severity, text template and effects.

Calling a code with the values of its template makes a `Warning`: ``WarningCode.DOSE_SUMMED(count=2)``. Code that
depends on a warning uses its effects (`WarningCode.withholds_class`, `WarningCode.flags_map`), never its code or text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from RTResponseCAMLib.translation import tr


class Severity(str, Enum):
    """How a warning affects the numbers.

    NOTE : something unusual was read as described; the numbers are valid.
    WARNING : numbers may be affected; compare them with the planning system.
    SERIOUS : numbers may be wrong, or are not given.
    """

    NOTE = "note"
    WARNING = "warning"
    SERIOUS = "serious"


NOTE, WARNING, SERIOUS = Severity
NO_CLASS, FLAGGED = "withholds the class", "flags the evidence map"
UNLIKE = "unlike the training data: withholds the class"


class WarningCode(str, Enum):
    """Every warning: code, severity, text template, effects. The value is the code, stable across versions.

    Attributes
    ----------
    severity, template : see `Severity`; the template is filled by the arguments of a call.
    withholds_class : the lesion (or every lesion of the study) gets no class.
    unlike_training : the reason is that the input is unlike the training data.
    flags_map : the warning is a quality flag of the evidence map; a subregion is contoured only on explicit request.
    """

    severity: Severity
    template: str
    withholds_class: bool
    unlike_training: bool
    flags_map: bool

    def __new__(cls, code: str, severity: Severity, template: str, *effects: str) -> WarningCode:
        """Make a member whose value is the code."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.severity, member.template = severity, template
        member.unlike_training = UNLIKE in effects
        member.withholds_class = NO_CLASS in effects or member.unlike_training
        member.flags_map = FLAGGED in effects or member.withholds_class
        return member

    def __call__(self, **values: Any) -> Warning:
        """Fill the template.

        Raises
        ------
        KeyError : a value of the template is missing.
        """
        return Warning(self, self.template.format(**values), tuple(values.items()))

    # fmt: off
    # Files and objects
    UNREADABLE_FILE = "unreadable-file", WARNING, "{file} {reason}; it is left out"
    REPEATED_OBJECT = ("repeated-object", NOTE,
        "{count} file(s) are copies of an object that was read before; each object is used once")
    REUSED_UID = ("reused-uid", WARNING,
        "{count} image(s) have the SOP Instance UID (0008,0018) of another image with different content; all are used")
    NOT_AN_IMAGE = "not-an-image", NOTE, "{count} object(s) of an image series are not images ({kind}) and are ignored"
    MODALITY_DIFFERS = ("modality-differs", NOTE,
        "{file} has Modality (0008,0060) {modality}, but its SOP Class (0008,0016), which is used, is {kind}")
    SERIES_JOINED = ("series-joined", WARNING,
        "{count} series of one file each (0020,000E) are read as one: same description, frame of reference and plane")
    OWN_EXPORT = ("own-export", NOTE,
        "{count} object(s) were exported by RTResponseCAM and are not read as part of the study")
    HIDDEN_NAME = "hidden-name", NOTE, "the names of {count} ROI(s) contain the patient's name or ID, which is removed"

    # Who and when
    IDENTITY_DIFFERS = ("identity-differs", WARNING,
        "{what}: {differs} differ from those of the planning MR, {agrees} agree; read as the same patient: check this")
    OTHER_PATIENT = "other-patient", SERIOUS, "{what} is left out: it belongs to another patient ({reason})"
    IDENTITY_UNVERIFIED = ("identity-unverified", WARNING,
        "{what}: the header does not prove that it is of the same patient ({reason}): check this")
    DATE_UNKNOWN = "date-unknown", WARNING, "{what} is not used as a date ({reason}); the day is unknown"
    DATES_DIFFER = "dates-differ", WARNING, "{what}: {dates} differ; {used} is used"
    DATES_ALIKE = ("dates-alike", WARNING,
        "all dates in the folder are equal although it holds {count} studies: dates were replaced, so days are unknown")
    PLAN_BEFORE_MR = ("plan-before-mr", WARNING,
        "{source} is {days} day(s) before the planning MR, which is impossible; days are counted from the MR")
    MR_BEFORE_PLAN = ("mr-before-plan", NOTE,
        "the planning MR was acquired {days} day(s) before the plan; days of follow-ups are counted from {source}")
    PLAN_LONG_AFTER_MR = ("plan-long-after-mr", WARNING,
        "{source} is {days} days after the planning MR, although a plan is made on a recent scan; days are counted "
        "from the MR")

    # Courses, plans and references
    SEVERAL_COURSES = ("several-courses", WARNING,
        "the folder holds {count} courses; {used} is used, not {others} (choose with --course)")
    SEVERAL_STRUCTURE_SETS_OF_PLAN = ("several-plans", WARNING,
        "{sets} structure set(s) and {plans} plan(s) belong to the planning series; used: {used} ({reason})")
    PLAN_LEFT_OUT = "plan-left-out", NOTE, "the plan {plan} is left out: {reason}"
    PLAN_NOT_APPROVED = "plan-status", WARNING, "the plan {plan}, chosen by the user, is {status} (300E,0002)"
    STRUCTURES_REJECTED = ("structures-rejected", WARNING,
        "the structure set {file} is REJECTED (300E,0002): export the structure set of the treatment")
    NOT_LINKED = "not-linked", WARNING, "{file} is not used: {reason}"
    PLAN_BY_FRAME = ("plan-by-frame", WARNING,
        "the plan references a structure set that is absent (300C,0060); the present one has the same frame of "
        "reference and is used: check that ROI numbers mean the same targets")
    UNREADABLE_PLAN = "unreadable-plan", WARNING, "{file} {reason}; it is left out"
    SERIES_BY_FRAME = ("series-by-frame", WARNING,
        "the series on which the structures were contoured is absent; a series of the same frame of reference is used")
    SERIES_BY_IMAGES = ("series-by-images", NOTE,
        "the structure set does not reference the series it was contoured on (3006,0010); used: {source}")
    MOVED_STRUCTURES = ("moved-structures", NOTE,
        "the structures were contoured in another frame of reference and are moved by a DICOM registration (REG)")
    MOVED_DOSE = "moved-dose", NOTE, "the dose is moved by a DICOM registration (REG)"
    REGISTRATION_LEFT_OUT = "registration-left-out", WARNING, "{file} {reason}; it is left out"
    REGISTRATIONS_DIFFER = ("registrations-differ", WARNING,
        "{count} pair(s) of frames have contradictory registrations (REG); none of these is used")

    # Prescription
    SEVERAL_PRESCRIPTIONS = ("several-prescriptions", WARNING,
        "{target}: the plan states {values} Gy (300A,0026); {used:g} Gy is used: {reason}")
    PRESCRIPTION_UNCLEAR = ("prescription-unclear", SERIOUS,
        "{target}: the plan states {values} Gy (300A,0026) but not which of them is the prescription; none is used")
    FRACTIONS_DIFFER = ("fractions-differ", WARNING,
        "the plan states {values} fractions (300A,0078) in its fraction groups; the number of fractions is unknown")
    ISODOSES_DIFFER = ("isodoses-differ", NOTE,
        "the plan states prescription isodoses of {values} %; none is used for all targets")
    NO_PRESCRIPTION_OF_ITS_OWN = ("no-prescription-of-its-own", WARNING,
        "the plan states no prescription for {names}; {dose:g} {unit}, {reason}, is used")
    ION_PRESCRIPTION = ("ion-prescription", SERIOUS,
        "an RT Ion Plan usually prescribes in Gy (RBE), but the dose is physical: coverage and indices mix both units")

    # Dose
    NO_DOSE = "no-dose", NOTE, "{reason}"
    DOSE_NEEDED = ("dose-needed", SERIOUS,
        "has no dose, which this model needs; the prescription is used in every voxel: no class is given", NO_CLASS)
    DOSE_RBE = ("dose-rbe", WARNING,
        "the dose is EFFECTIVE (3004,0004), in Gy (RBE), not physical Gy; BED and volume at risk are not computed")
    DOSE_RBE_MODEL = ("dose-rbe-model", SERIOUS,
        "the dose is in Gy (RBE), but this model was trained on physical dose: no class is given", NO_CLASS)
    DOSE_BY_FRAME = ("dose-by-frame", WARNING,
        "the RTDOSE references no plan or structure set here; it is used because its frame of reference matches")
    DOSE_LEFT_OUT = "dose-left-out", NOTE, "{count} RTDOSE of type {kind} are not used beside the {used} dose"
    DOSE_CHOSEN = "dose-chosen", NOTE, "of {count} RTDOSE of the plan, {used} is used, as chosen by the user"
    DOSE_OF_PLANS = "dose-of-plans", WARNING, "the dose is that of several plans together (MULTI_PLAN)"
    DOSE_MULTIPLIED = "dose-multiplied", NOTE, "the {kind} dose is multiplied by {count} fractions, as requested"
    DOSE_UNEVEN = "dose-uneven", NOTE, "the dose frames are unevenly spaced; they are resampled to the smallest spacing"
    DOSE_REPEATED = ("dose-repeated", NOTE,
        "{count} RTDOSE file(s) repeat the dose of another file; each dose is summed once")
    DOSE_PARTS_UNKNOWN = ("dose-parts-unknown", SERIOUS,
        "the {count} {kind} dose(s) may not be all parts of the plan (300C,0006): the dose may be too low")
    DOSE_SUMMED = "dose-summed", NOTE, "the dose is the sum of {count} RTDOSE files ({reason})"
    DOSE_IMPLAUSIBLE = ("dose-implausible", WARNING,
        "the dose maximum is {ratio:.2f} × the highest prescription, unlike Gamma Knife plans (about 2): check both")
    LESION_NOT_COVERED = ("lesion-not-covered", SERIOUS,
        "{names}: receives at most {share:.0f} % of its prescription: not treated by it, or the dose is misplaced")
    DOSE_UNUSED = "dose-unused", WARNING, "the manifest states no prescription (rx_gy): the dose is not used"
    DOSE_UNITS = "dose-units", WARNING, "'{name}' is not labeled as a dose; its values are read as {unit}"
    DOSE_SHORT = "dose-short", WARNING, "the dose grid does not cover the whole lesion: no dose is given"
    OUTSIDE_DOSE = "outside-dose", WARNING, "{share}"
    NO_PRESCRIPTION = ("no-prescription", WARNING,
        "the prescription is unknown: plan indices are left out; state it with --prescription")
    NO_FRACTIONS = ("no-fractions", NOTE,
        "the number of fractions is unknown: volume at risk and BED are left out; export the RTPLAN with its fraction "
        "group (300A,0070)")
    STRUCTURE_LEFT_OUT = "structure-left-out", WARNING, "{name} has no histogram: {reason}"
    STRUCTURE_OUTSIDE_DOSE = ("structure-outside-dose", NOTE,
        "{name}: {percent:.0f} % of the volume lie outside the dose grid, counted as 0 Gy")
    ISODOSES_MEET = ("isodoses-meet", NOTE,
        "{name}: its {what} merges with that of {others}; each voxel is assigned to the nearest target")
    ISODOSE_TRUNCATED = ("isodose-truncated", WARNING,
        "{name}: the dose grid cuts the isodose of half the prescription; indices use the part inside the grid")
    TARGET_OUTSIDE_DOSE = ("target-outside-dose", WARNING,
        "{name}: {percent:.1f} % of the target lie outside the dose grid, counted as 0 Gy")

    # Image series
    NOT_T1C = "not-t1c", SERIOUS, "{what}: no class is given", UNLIKE
    SEVERAL_T1C = ("several-t1c", WARNING,
        "{count} series could be the planning T1c; '{used}' is used (choose another with --series)")
    SERIES_BY_HAND = ("series-by-hand", NOTE,
        "'{name}' was chosen by the user; whether it is a contrast-enhanced T1 is not checked")
    SERIES_UNSURE = ("series-unsure", WARNING,
        "'{name}'{day} may be a follow-up, but {reason}; it is not used (use it with --visit)")
    SERIES_OF_VISIT = ("series-of-visit", NOTE,
        "{day}: '{used}' is the visit; other series of that day: {others} (choose another with --visit)")
    SERIES_DERIVED = "series-derived", NOTE, "'{name}'{day} is not a separate visit: {reason}"
    SEVERAL_STACKS = ("several-stacks", WARNING,
        "the series holds {count} stacks ({sizes} slices); the first of these is used")
    SEVERAL_ACQUISITIONS = ("several-acquisitions", WARNING,
        "the series holds {count} acquisitions of the same slices{packages}; {used}")
    REPEATED_SLICES = ("repeated-slices", NOTE,
        "{count} slice(s) of the MR are stored twice with the same pixels; each is used once")
    SLICE_GAP = ("slice-gap", WARNING,
        "{count} slice(s) of the MR are missing (median step {step:.2f} mm); the gap is interpolated")
    GAP_IN_LESION = ("gap-in-lesion", SERIOUS,
        "slices of the MR are missing within {names}; the evidence there is based on interpolated voxels")
    UNEVEN_SLICES = ("uneven-slices", WARNING,
        "the MR's slices are unevenly spaced ({low:.2f} to {high:.2f} mm); they are resampled")
    SHEARED_SLICES = ("sheared-slices", WARNING,
        "the MR's slices are shifted against each other by up to {reach:.1f} mm (gantry tilt); resampled")
    ROUNDED_POSITIONS = ("rounded-positions", NOTE,
        "the slices' {what} only; they are read as one evenly spaced stack (largest change {change:.2f} mm)")
    PIXEL_PADDING = "pixel-padding", NOTE, "{count} pixel(s) are padding (0028,0120) and are set to background"
    SERIES_INCOMPLETE = ("series-incomplete", SERIOUS,
        "the structures were contoured on {missing} slices that lie in another series of the same planes, '{other}': "
        "the planning MR may be only a part of the scan: no class is given", UNLIKE)

    # Structures
    REPEATED_ROI_NUMBER = "repeated-roi-number", WARNING, "ROI Number {number} is used twice; '{name}' is left out"
    REPEATED_ROI_NAME = ("repeated-roi-name", NOTE,
        "several ROIs have the name '{name}'; later ones are shown as '{name}#2' …")
    OBSERVATIONS_DIFFER = ("observations-differ", WARNING,
        "ROI '{name}' has the types {kinds} (3006,00A4) in several observations; {used}")
    NAME_AND_TYPE_DIFFER = ("name-type-differ", WARNING,
        "ROI '{name}' has the type {kind} (3006,00A4); {used} (choose with --roi)")
    POINTS_ONLY = "points-only", NOTE, "ROI '{name}' contains only points or open lines: it has no volume"
    OPEN_CONTOURS = ("open-contours", WARNING,
        "ROI '{name}': {count} open contour(s) are left out; its volume may be too small")
    CONTOUR_TYPE = ("contour-type", WARNING,
        "ROI '{name}': {count} contour(s) have the type {kind} (3006,0042), which DICOM does not define; read as "
        "closed")
    SHORT_CONTOUR = ("short-contour", NOTE,
        "ROI '{name}': {count} contour(s) with fewer than three points or without area are left out")
    EMPTY_ROI = "empty-roi", WARNING, "{what} is left out"
    ROI_IN_OTHER_FRAME = ("roi-in-other-frame", WARNING,
        "ROIs in another frame of reference (3006,0024) than the MR, without a registration, are left out: {names}")
    ROI_FRAME_UNKNOWN = ("roi-frame-unknown", WARNING,
        "ROIs have a frame of reference (3006,0024) that no image has; their coordinates are used unchanged: {names}")
    TARGET_BY_NAME = "target-by-name", NOTE, "read as targets by name, not by type: {names} (choose with --roi)"
    NESTED_ROI = "nested-roi", NOTE, "'{left}' is left out: it covers the same lesion as '{kept}', which is used"
    HOLDS_TARGETS = ("holds-targets", NOTE,
        "'{name}' ({volume:.0f} cm³) is not read as a lesion: it contains {count} others (choose with --roi)")
    TOO_LARGE = ("too-large", WARNING,
        "'{name}' ({volume:.0f} cm³) is not read as a lesion: it has no target type and exceeds {limit:g} cm³ "
        "(choose with --roi)")
    SMALL_FOR_NAME = ("small-for-name", WARNING,
        "'{name}' has {volume:.2f} cm³, too little for an organ of that name, and is left out; if it is a lesion, "
        "choose it with --roi")
    SINGLE_PLANE = "single-plane", WARNING, "{where} has contours in one plane only; a thickness of 1 mm is assumed"
    CONTOUR_GAP = ("contour-gap", WARNING,
        "{where}: {count} gap(s) between contour planes exceed 1.6 × the median {step:.2f} mm; not interpolated")
    REPEATED_OUTLINE = ("repeated-outline", WARNING,
        "{where}: {count} contour(s) are stored twice (within {tolerance:g} mm); each is used once")
    HOLLOW_OUTLINE = ("hollow-outline", SERIOUS,
        "{where}: nested or crossing contours leave {share:.0f} % of the volume inside the outer ones ({volume:.3f} "
        "of {outer:.3f} cm³); if the target was contoured twice, this volume is wrong", NO_CLASS)
    FLAT_OUTLINE = "flat-outline", NOTE, "{where}: {count} contour(s) enclose no area and are left out"
    CROSSED_OUTLINE = ("crossed-outline", SERIOUS,
        "{where}: contours cross themselves: the volume is {volume:.3f} cm³ by the area inside their loops (used) and "
        "{signed:.3f} cm³ by signed area; contour the lesion again", NO_CLASS)
    SEPARATE_PARTS = ("separate-parts", WARNING,
        "{where} consists of {count} separate parts up to {apart:.0f} mm apart and is read as one lesion: give "
        "each metastasis its own ROI")
    FRACTIONAL_SEGMENTS = ("fractional-segments", NOTE,
        "the segmentation is fractional: voxels with a fraction of at least 50 % belong to the structure")
    SEGMENTATION_STEP = ("segmentation-step", WARNING,
        "the segmentation states {stated}, but its frames are {gap:.2f} mm apart; a slice thickness of {step:.2f} mm "
        "is used")
    UNLISTED_SEGMENT = ("unlisted-segment", WARNING,
        "frames reference the segment(s) {numbers}, which the segmentation does not describe (0062,0002); left out")

    # Predictions
    VOLUME_RANGE = ("volume-range", SERIOUS,
        "{volume:.3f} cm³ is outside the training range of {low:.2g}–{high:.3g} cm³: no class is given", UNLIKE)
    PATCH_LIMIT = ("patch-limit", SERIOUS,
        "only {percent:.0f} % of the lesion fit into the largest patch: no class is given", UNLIKE)
    MR_EDGE = "mr-edge", SERIOUS, "{percent:.0f} % of the lesion lie outside the planning MR: no class is given", UNLIKE
    COARSE_MR = ("coarse-mr", WARNING,
        "MR voxels are {voxels} mm; the model was trained on ≤ {seen:.2g} mm: texture is smoother in such images, so "
        "non-response may be over-predicted")
    UNLIKE_TRAINING = ("unlike-training", SERIOUS,
        "unlike the lesions of the training ({words}; p = {p:.3f}): no class is given", UNLIKE)
    NO_INTERVAL = "no-interval", WARNING, "the model gives no interval of p: its uncertainty is unknown"
    INDETERMINATE = ("indeterminate", SERIOUS,
        "the interval of p contains the class threshold: no class is given", FLAGGED)
    UNFAMILIAR = "unfamiliar", SERIOUS, "the lesion is unlike the training data: no class is given", FLAGGED
    CAM_CHECK = "cam-check", SERIOUS, "the map {what}", FLAGGED
    SHARED_VOXELS = ("shared-voxels", SERIOUS,
        "shares {count} voxels with another lesion: the evidence map shows only one of the two there", FLAGGED)
    MODEL = "model", WARNING, "{text}"

    # Follow-ups
    FOLLOW_UP = "follow-up", WARNING, "{what}"
    VISIT_FAILED = "visit-failed", SERIOUS, "{name}: {reason}"
    WEAK_REGISTRATION = ("weak-registration", SERIOUS,
        "the registration of the follow-up is weak (edge correlation {similarity:.2f}): check the overlay")
    BEYOND_FOLLOW_UP = ("beyond-follow-up", WARNING,
        "{lesion} lies at or beyond the edge of {visit}: it cannot be measured")
    SEVERAL_STRUCTURE_SETS = ("several-structure-sets", WARNING,
        "{count} structure sets were contoured on the follow-up; {used} is used: {reason}")
    NOT_TAKEN = "not-taken", NOTE, "structures of {visit} that are not read as lesions: {names}"
    NO_LESIONS_CONTOURED = ("no-lesions-contoured", WARNING,
        "no contoured structure of the follow-up is a lesion; this does not mean that the lesions vanished")
    MASK_ON_EITHER = ("mask-on-either", WARNING,
        "the label map matches the grids of both scans; it is read as contoured on the {scan}")
    EMPTY_MASK = "empty-mask", NOTE, "the label map is empty: lesions without enhancement are reported as vanished"
    LABELS_TOUCH = ("labels-touch", WARNING,
        "labels in the label map touch each other: if they belong to one lesion, combine them with --mask-values")
    MERGED_LESIONS = "merged-lesions", NOTE, "{lesions} share a region at {visit}; they are measured together"
    NOTHING_CONTOURED = ("nothing-contoured", NOTE,
        "no lesion was contoured on the follow-up, and no contour was proposed")
    NOTHING_PROPOSED = "nothing-proposed", WARNING, "{reason}"
    LESION_NOT_CONTOURED = ("lesion-not-contoured", WARNING,
        "{lesion} was not contoured at {visit} although tissue enhances at its position: check whether it vanished")
    PROPOSED_REGION = ("proposed-region", WARNING,
        "'{name}' is a proposed contour, not made by a person: review and edit it")
    PROPOSED_CONTOUR_LIMITED = ("proposed-contour-limited", WARNING,
        "'{name}': the proposed contour reaches its limit ({limit:g} mm outside the planned contour)")
    WEAK_CONTRAST = ("weak-contrast", WARNING,
        "'{name}': weak contrast ({contrast:.1f} standard deviations); the proposed contour is unreliable")

    # Subregions, alignment, export
    EMPTY_SUBREGION = "empty-subregion", NOTE, "{what}: nothing is contoured"
    ONE_VOXEL = "one-voxel", WARNING, "the subregion is a single voxel, below the resolution of the MR"
    SMALLER_THAN_SHOT = ("smaller-than-shot", NOTE,
        "{volume:.3f} cm³ is less than the volume of one 4 mm shot ({shot:.2f} cm³){then}")
    UNSTABLE_SUBREGION = ("unstable-subregion", WARNING,
        "the subregion is not stable: a shift of the map by 1 mm lowers Dice to {dice:.2f}")
    BOOST_ESTIMATE = "boost-estimate", WARNING, "{note}"
    BOOST_IDLE = "boost-idle", NOTE, "the subregion already receives {dose:g} {unit}"
    NOT_CONTOURED = "not-contoured", WARNING, "{name} is not contoured: {quality_flags}"
    POINTS_OUTSIDE = "points-outside", NOTE, "{outside} of {count} points lie outside the lesions of the map: left out"
    FLAGGED_EVIDENCE = "flagged-evidence", WARNING, "{where}: the evidence map has quality flags: {quality_flags}"
    NO_HABITAT = ("no-habitat", WARNING,
        "{patient}: the label map is empty within the lesions; check its frame of reference")
    FEW_PATIENTS = ("few-patients", WARNING,
        "{count} patient(s): intervals over fewer than {few} patients are too narrow; none is given for one")
    NO_ALIGNMENT = "no-alignment", WARNING, "type '{kind}': {reason}"
    EMPTY_REGION = "empty-region", WARNING, "{name} has no voxel and is not exported"
    NO_SLICE = ("no-slice", NOTE,
        "{name}: the MR has no slice at {places} mm along its normal; contours there reference no image")
    NO_SUBREGION = ("no-subregion", NOTE,
        "no subregion is stored as a segment: the DICOM export contains the evidence map only")
    NO_HIGHDICOM = ("no-highdicom", WARNING,
        "{package} is missing: the DICOM export contains the RTSTRUCT only, neither SEG nor Parametric Map")
    REGRIDDED = ("regridded", NOTE,
        "{name} was contoured on another grid than the MR; it is exported on the grid of the MR")
    OTHER_MODEL = ("other-model", WARNING,
        "{name} was contoured on the evidence map of another model than the exported one")
    # fmt: on


@dataclass(frozen=True)
class Warning:
    """A statement that the user must read beside a result; made by calling a `WarningCode`."""

    code: WarningCode
    text: str
    values: tuple[tuple[str, Any], ...] = field(default=(), compare=False, repr=False)

    @property
    def severity(self) -> Severity:
        """See `Severity`."""
        return self.code.severity

    def as_json(self) -> dict[str, str]:
        """Plain values for JSON."""
        return {"code": self.code.value, "severity": self.severity.value, "text": self.text}

    def labeled(self) -> str:
        """The text, preceded by its severity unless that is ``warning``."""
        return labeled(**self.as_json())

    def translated(self) -> str:
        """The text in the language of the panel."""
        if not self.values and "{" in self.code.template:
            return self.text
        return tr(self.code.template).format(**dict(self.values))

    def reworded(self, change: Callable[[str], str]) -> Warning:
        """The warning with ``change`` applied to its text and to the texts in it; names are removed in this way."""
        values = tuple((k, v if isinstance(v, (int, float)) else change(str(v))) for k, v in self.values)
        return replace(self, text=change(self.text), values=values)


def labeled(text: str, severity: str = WARNING.value, *, code: str = "") -> str:
    """The text of a warning as `Warning.as_json` gives it, see `Warning.labeled`."""
    return text if severity == WARNING.value else f"{severity}: {text}"


def withhold_class(warnings: Iterable[Warning]) -> bool:
    """Whether one of the warnings withholds the class."""
    return any(w.code.withholds_class for w in warnings)


def by_severity(warnings: Iterable[Warning]) -> tuple[Warning, ...]:
    """Sort by severity, most serious first, and remove repetitions."""
    order = list(Severity)
    return tuple(sorted(dict.fromkeys(warnings), key=lambda w: -order.index(w.severity)))
