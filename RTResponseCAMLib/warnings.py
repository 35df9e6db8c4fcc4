"""Everything that a user must read beside a result: one table of codes, severities, effects and text templates.

A `Warning` is made by calling its code with the values of the template: ``WarningCode.DOSE_SUMMED(count=2)``. Whatever
depends on a warning asks for its effects, never for its code or text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Severity(str, Enum):
    """How much a warning matters for the numbers beside it.

    NOTE : how something unusual was read; the numbers hold.
    WARNING : numbers may be affected; compare them with the planning system.
    SERIOUS : numbers may be wrong, or none is given.
    """

    NOTE = "note"
    WARNING = "warning"
    SERIOUS = "serious"


NOTE, WARNING, SERIOUS = Severity
NO_CLASS, FLAGGED = "withholds the class", "the evidence is not contoured unasked"
UNLIKE = "the model has not seen the like: withholds the class"


class WarningCode(str, Enum):
    """Every warning: code, severity, text template, effects. The value is the code, stable across versions.

    Attributes
    ----------
    severity, template : see `Severity`; the template is filled by the arguments of a call.
    withholds_class : the lesion (or every lesion of the study) gets no class.
    unlike_training : why: it is unlike what the model was trained on.
    flags_map : the lesion's evidence is in doubt, and is contoured only when the user asks for it all the same.
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
        return Warning(self, self.template.format(**values))

    # fmt: off
    # Files and objects
    UNREADABLE_FILE = "unreadable-file", WARNING, "{file} {reason}; it is left out"
    REPEATED_OBJECT = ("repeated-object", NOTE,
        "{count} file(s) repeat an object that is there already; each counts once")
    REUSED_UID = ("reused-uid", WARNING,
        "{count} image(s) share a SOP Instance UID (0008,0018) with another image of other content; all are kept")
    NOT_AN_IMAGE = ("not-an-image", NOTE,
        "{count} object(s) of an image series are no images ({kind}) and are passed over")
    MODALITY_DIFFERS = ("modality-differs", NOTE,
        "{file} states Modality (0008,0060) {modality}, but its SOP Class (0008,0016) is {kind}; the SOP Class "
        "counts")
    SERIES_JOINED = ("series-joined", WARNING,
        "{count} series of one file each (0020,000E) are read as one: same description, frame of reference "
        "and plane")
    OWN_EXPORT = ("own-export", NOTE,
        "{count} object(s) were exported by this program and are not read as a part of the study")
    HIDDEN_NAME = ("hidden-name", NOTE,
        "the names of {count} ROI(s) held the patient's name or number, which is not shown")

    # Who and when
    IDENTITY_DIFFERS = ("identity-differs", WARNING,
        "{what}: {differs} differ from the planning MR's, {agrees} agree; taken for the same patient: check this")
    OTHER_PATIENT = "other-patient", SERIOUS, "{what} is left out: it belongs to another patient by {reason}"
    IDENTITY_UNVERIFIED = ("identity-unverified", WARNING,
        "{what}: nothing in its header proves that it is of the same patient ({reason}): check this")
    DATE_UNKNOWN = "date-unknown", WARNING, "{what} is not used as a date: {reason}; the day is unknown"
    DATES_DIFFER = "dates-differ", WARNING, "{what}: {dates} differ; {used} counts"
    DATES_ALIKE = ("dates-alike", WARNING,
        "every date of the folder is the same although it holds {count} studies: dates were replaced; days are "
        "unknown")
    PLAN_BEFORE_MR = ("plan-before-mr", WARNING,
        "{source} is {days} day(s) before the planning MR was taken, which cannot be; days count from the MR")
    MR_BEFORE_PLAN = ("mr-before-plan", NOTE,
        "the planning MR was taken {days} day(s) before the plan; follow-ups count from {source}")
    PLAN_LONG_AFTER_MR = ("plan-long-after-mr", WARNING,
        "{source} is {days} days after the planning MR, although a plan is made on a recent scan; days count from "
        "the MR")

    # Courses, plans and references
    SEVERAL_COURSES = ("several-courses", WARNING,
        "the folder holds {count} courses; {used} is used, not {others} (choose with --course)")
    SEVERAL_STRUCTURE_SETS_OF_PLAN = ("several-plans", WARNING,
        "{sets} structure set(s) and {plans} plan(s) belong to the planning series; used: {used} ({reason})")
    PLAN_LEFT_OUT = "plan-left-out", NOTE, "the plan {plan} is left out: {reason}"
    PLAN_NOT_APPROVED = "plan-status", WARNING, "the plan {plan} is {status} (300E,0002), as chosen by the user"
    STRUCTURES_REJECTED = ("structures-rejected", WARNING,
        "the structure set {file} is REJECTED (300E,0002): export the one that was treated")
    NOT_LINKED = "not-linked", WARNING, "{file} is not used: {reason}"
    PLAN_BY_FRAME = ("plan-by-frame", WARNING,
        "the plan names a structure set that is absent (300C,0060); it is taken for the present one, whose frame "
        "of reference it shares: check that ROI numbers mean the same targets")
    UNREADABLE_PLAN = "unreadable-plan", WARNING, "{file} {reason}; it is left out"
    SERIES_BY_FRAME = ("series-by-frame", WARNING,
        "the series on which the structures were contoured is absent; a series of the same frame of reference is "
        "used")
    SERIES_BY_IMAGES = ("series-by-images", NOTE,
        "the structure set does not say on which series it was contoured (3006,0010); taken: {source}")
    MOVED_STRUCTURES = ("moved-structures", NOTE,
        "the structures were contoured in another frame of reference and are moved by a DICOM registration (REG)")
    MOVED_DOSE = "moved-dose", NOTE, "the dose is moved by a DICOM registration (REG)"
    REGISTRATION_LEFT_OUT = "registration-left-out", WARNING, "{file} {reason}; it is left out"
    REGISTRATIONS_DIFFER = ("registrations-differ", WARNING,
        "{count} pair(s) of frames have registrations (REG) that contradict one another; not used")

    # Prescription
    SEVERAL_PRESCRIPTIONS = ("several-prescriptions", WARNING,
        "{target}: the plan states {values} Gy (300A,0026); {used:g} Gy is used: {reason}")
    PRESCRIPTION_UNCLEAR = ("prescription-unclear", SERIOUS,
        "{target}: the plan states {values} Gy (300A,0026) and not which of them is the prescription; none is used")
    FRACTIONS_DIFFER = ("fractions-differ", WARNING,
        "the plan states {values} fractions (300A,0078) in its fraction groups; the number is unknown")
    ISODOSES_DIFFER = ("isodoses-differ", NOTE,
        "the plan states prescription isodoses of {values} %; none is taken for all targets")
    NO_PRESCRIPTION_OF_ITS_OWN = ("no-prescription-of-its-own", WARNING,
        "the plan prescribes nothing for {names}; {dose:g} {unit}, {reason}, is taken")
    ION_PRESCRIPTION = ("ion-prescription", SERIOUS,
        "an RT Ion Plan prescribes in Gy (RBE) as a rule, but the dose is physical: coverage and indices mix both "
        "units")

    # Dose
    NO_DOSE = "no-dose", NOTE, "{reason}"
    DOSE_NEEDED = ("dose-needed", SERIOUS,
        "has no dose, which this model reads; the prescription is taken everywhere: no class is given", NO_CLASS)
    DOSE_RBE = ("dose-rbe", WARNING,
        "the dose is EFFECTIVE (3004,0004): every dose is in Gy (RBE), weighted for biological effect, not "
        "physical Gy; no BED and no volume at risk")
    DOSE_RBE_MODEL = ("dose-rbe-model", SERIOUS,
        "the dose is in Gy (RBE), and this model has learned from physical dose: no class is given", NO_CLASS)
    DOSE_BY_FRAME = ("dose-by-frame", WARNING,
        "the RTDOSE names no plan or structure set here; it is taken because its frame of reference fits")
    DOSE_LEFT_OUT = "dose-left-out", NOTE, "{count} RTDOSE of type {kind} are not used beside the {used} dose"
    DOSE_CHOSEN = "dose-chosen", NOTE, "of {count} RTDOSE of the plan, {used} is used, as chosen by the user"
    DOSE_OF_PLANS = "dose-of-plans", WARNING, "the dose is that of several plans together (MULTI_PLAN)"
    DOSE_MULTIPLIED = "dose-multiplied", NOTE, "the {kind} dose is multiplied by {count} fractions, as asked for"
    DOSE_UNEVEN = "dose-uneven", NOTE, "the dose frames are unevenly spaced; they are resampled at the smallest step"
    DOSE_REPEATED = "dose-repeated", NOTE, "{count} RTDOSE repeat(s) the dose of another file; each dose counts once"
    DOSE_PARTS_UNKNOWN = ("dose-parts-unknown", SERIOUS,
        "nothing says whether the {count} {kind} dose(s) are all parts of the plan (300C,0006): "
        "the dose may be too low")
    DOSE_SUMMED = "dose-summed", NOTE, "the dose is the sum of {count} RTDOSE files ({reason})"
    DOSE_IMPLAUSIBLE = ("dose-implausible", WARNING,
        "the dose maximum is {ratio:.2f} × the highest prescription, unlike Gamma Knife plans (about 2): check "
        "both")
    LESION_NOT_COVERED = ("lesion-not-covered", SERIOUS,
        "{names}: receives at most {share:.0f} % of its prescription: it was not treated by this plan, or the dose "
        "lies elsewhere")
    DOSE_UNUSED = "dose-unused", WARNING, "the manifest states no prescription (rx_gy): the dose is not used"
    DOSE_UNITS = "dose-units", WARNING, "'{name}' does not say that it is a dose; its values are taken for {unit}"
    DOSE_SHORT = "dose-short", WARNING, "the dose grid does not hold the whole lesion: no dose is given"
    OUTSIDE_DOSE = "outside-dose", WARNING, "{share}"
    NO_PRESCRIPTION = ("no-prescription", WARNING,
        "no prescription is known: indices of the plan are left out; give --prescription")
    NO_FRACTIONS = ("no-fractions", NOTE,
        "the number of fractions is unknown: no volume at risk and no BED; export the RTPLAN with its fraction "
        "group (300A,0070)")
    STRUCTURE_LEFT_OUT = "structure-left-out", WARNING, "{name} has no histogram: {reason}"
    STRUCTURE_OUTSIDE_DOSE = ("structure-outside-dose", NOTE,
        "{name}: {percent:.0f} % lie outside the dose grid, counted as 0 Gy")
    ISODOSES_MEET = ("isodoses-meet", NOTE,
        "{name}: its {what} is one with that of {others}; indices divide it by the nearest target")
    ISODOSE_CUT = ("isodose-cut", WARNING,
        "{name}: the dose grid ends within half the prescription; indices count what it holds")
    TARGET_OUTSIDE_DOSE = ("target-outside-dose", WARNING,
        "{name}: {percent:.1f} % of the target lie outside the dose grid, counted as 0 Gy")

    # Image series
    NOT_T1C = "not-t1c", SERIOUS, "{what}: no class is given", UNLIKE
    SEVERAL_T1C = ("several-t1c", WARNING,
        "{count} series could be the planning T1c; taken: '{used}' (choose another with --series)")
    SERIES_BY_HAND = ("series-by-hand", NOTE,
        "'{name}' was chosen by hand; that it is a contrast-enhanced T1 is not checked")
    SERIES_UNSURE = ("series-unsure", WARNING,
        "'{name}'{day} may be a follow-up, but {reason}; it is not used (take it with --visit)")
    SERIES_OF_VISIT = ("series-of-visit", NOTE,
        "{day}: '{used}' is the visit; of the same day are also {others} (--visit takes another)")
    SERIES_DERIVED = "series-derived", NOTE, "'{name}'{day} is no visit of its own: {reason}"
    SEVERAL_STACKS = ("several-stacks", WARNING,
        "the series holds {count} stacks ({sizes} slices); the first of these is used")
    SEVERAL_ACQUISITIONS = ("several-acquisitions", WARNING,
        "the series holds {count} acquisitions of the same slices{packages}; {used}")
    REPEATED_SLICES = ("repeated-slices", NOTE,
        "{count} slice(s) of the MR are there twice with the same pixels; each is used once")
    SLICE_GAP = ("slice-gap", WARNING,
        "{count} slice(s) of the MR are missing (usual step {step:.2f} mm); the gap is interpolated")
    GAP_IN_LESION = ("gap-in-lesion", SERIOUS,
        "slices of the MR are missing within {names}; the evidence there is interpolated")
    UNEVEN_SLICES = ("uneven-slices", WARNING,
        "the MR's slices are unevenly spaced ({low:.2f} to {high:.2f} mm); they are resampled")
    SHEARED_SLICES = ("sheared-slices", WARNING,
        "the MR's slices are shifted against each other by up to {reach:.1f} mm (gantry tilt); resampled")
    ROUNDED_POSITIONS = ("rounded-positions", NOTE,
        "the slices' {what} only; they are read as one even stack (largest change {change:.2f} mm)")
    PIXEL_PADDING = "pixel-padding", NOTE, "{count} pixel(s) are padding (0028,0120) and count as background"
    SERIES_INCOMPLETE = ("series-incomplete", SERIOUS,
        "the structures were contoured on {missing} slices that lie in another series of the same planes, '{other}': "
        "the planning MR may be a part of its scan only: no class is given", UNLIKE)

    # Structures
    REPEATED_ROI_NUMBER = "repeated-roi-number", WARNING, "ROI Number {number} is given twice; '{name}' is left out"
    REPEATED_ROI_NAME = "repeated-roi-name", NOTE, "several ROIs are called '{name}'; the later are '{name}#2' …"
    OBSERVATIONS_DIFFER = ("observations-differ", WARNING,
        "ROI '{name}' has the types {kinds} (3006,00A4) in several observations; {used}")
    NAME_AND_TYPE_DIFFER = ("name-type-differ", WARNING,
        "ROI '{name}' has the type {kind} (3006,00A4); {used} (choose with --roi)")
    POINTS_ONLY = "points-only", NOTE, "ROI '{name}' consists of points or open lines only: it has no volume"
    OPEN_CONTOURS = ("open-contours", WARNING,
        "ROI '{name}': {count} open contour(s) enclose nothing and are left out; its volume may be too small")
    CONTOUR_TYPE = ("contour-type", WARNING,
        "ROI '{name}': {count} contour(s) are of the type {kind} (3006,0042), which DICOM does not know; read as "
        "closed")
    SHORT_CONTOUR = ("short-contour", NOTE,
        "ROI '{name}': {count} contour(s) of fewer than three points, or there and back, enclose nothing and "
        "are left out")
    EMPTY_ROI = "empty-roi", WARNING, "{what} is left out"
    ROI_IN_OTHER_FRAME = ("roi-in-other-frame", WARNING,
        "ROIs that are left out lie in another frame of reference (3006,0024) than the MR, without a registration: "
        "{names}")
    ROI_FRAME_UNKNOWN = ("roi-frame-unknown", WARNING,
        "ROIs name a frame of reference (3006,0024) that nothing else has, and are taken as contoured: {names}")
    TARGET_BY_NAME = ("target-by-name", NOTE,
        "taken for targets by their names, not their type: {names} (choose with --roi)")
    NESTED_ROI = "nested-roi", NOTE, "'{left}' is left out: it is contoured over '{kept}', which is used"
    HOLDS_TARGETS = ("holds-targets", NOTE,
        "'{name}' ({volume:.0f} cm³) is no lesion: it holds {count} others (choose with --roi)")
    TOO_LARGE = ("too-large", WARNING,
        "'{name}' ({volume:.0f} cm³) is taken for no lesion: without a target's type none is over {limit:g} cm³ "
        "(choose with --roi)")
    SMALL_FOR_NAME = ("small-for-name", WARNING,
        "'{name}' holds {volume:.2f} cm³, too little for what its name says, and is left out; if it is a lesion, "
        "choose it with --roi")
    SINGLE_PLANE = "single-plane", WARNING, "{where} has contours in one plane only; its thickness is taken as 1 mm"
    CONTOUR_GAP = ("contour-gap", WARNING,
        "{where}: {count} gap(s) between contour planes exceed 1.6 × the usual {step:.2f} mm; not bridged")
    REPEATED_OUTLINE = ("repeated-outline", WARNING,
        "{where}: {count} outline(s) are there twice within {tolerance:g} mm; each counts once")
    HOLLOW_OUTLINE = ("hollow-outline", SERIOUS,
        "{where}: outlines within or across outlines leave {share:.0f} % of what the outer ones enclose ({volume:.3f} "
        "of {outer:.3f} cm³); if a target was contoured twice, this volume is wrong", NO_CLASS)
    FLAT_OUTLINE = ("flat-outline", NOTE,
        "{where}: {count} outline(s) enclose no area, or run there and back, and are left out")
    CROSSED_OUTLINE = ("crossed-outline", SERIOUS,
        "{where}: outlines cross themselves: {volume:.3f} cm³ lie within their loops, which counts, {signed:.3f} cm³ "
        "by the signed area of each; draw them anew", NO_CLASS)
    SEPARATE_PARTS = ("separate-parts", WARNING,
        "{where} consists of {count} separate parts up to {apart:.0f} mm apart, and counts as one lesion: give "
        "each metastasis a ROI of its own")
    FRACTIONAL_SEGMENTS = "fractional-segments", NOTE, "the segmentation is fractional; voxels from 50 % are taken"
    SEGMENTATION_STEP = ("segmentation-step", WARNING,
        "the segmentation states {stated}, its frames lie {gap:.2f} mm apart; its slices are taken as {step:.2f} "
        "mm")
    UNLISTED_SEGMENT = ("unlisted-segment", WARNING,
        "frames name the segment(s) {numbers}, which the segmentation does not describe (0062,0002); left out")

    # Predictions
    VOLUME_RANGE = ("volume-range", SERIOUS,
        "{volume:.3f} cm³ is outside the {low:.2g}–{high:.3g} cm³ that the model was trained on", UNLIKE)
    PATCH_LIMIT = ("patch-limit", SERIOUS,
        "only {percent:.0f} % of it fit into the largest patch; the rest is not read", UNLIKE)
    MR_EDGE = "mr-edge", SERIOUS, "{percent:.0f} % of it lie beyond the planning MR", UNLIKE
    COARSE_MR = ("coarse-mr", WARNING,
        "MR voxels of {voxels} mm are coarser than the {seen:.2g} mm that the model was trained on: texture looks "
        "smoother than it is, and evidence may be far off")
    NO_INTERVAL = "no-interval", WARNING, "the model gives no interval of p: how certain it is, is not known"
    INDETERMINATE = "indeterminate", SERIOUS, "the interval holds the threshold: no class is given", FLAGGED
    UNFAMILIAR = "unfamiliar", SERIOUS, "unlike anything the model was trained on: no class is given", FLAGGED
    CAM_CHECK = "cam-check", SERIOUS, "the map {what}", FLAGGED
    SHARED_VOXELS = ("shared-voxels", SERIOUS,
        "shares {count} voxels with another lesion: the map holds one of them there", FLAGGED)
    MODEL = "model", WARNING, "{text}"

    # Follow-ups
    FOLLOW_UP = "follow-up", WARNING, "{what}"
    VISIT_FAILED = "visit-failed", SERIOUS, "{name}: {reason}"
    WEAK_REGISTRATION = ("weak-registration", SERIOUS,
        "the follow-up fits the planning head weakly (edge correlation {similarity:.2f}): look at the overlay")
    BEYOND_FOLLOW_UP = ("beyond-follow-up", WARNING,
        "{lesion} lies at or beyond the edge of {visit}: nothing can be said of it")
    SEVERAL_STRUCTURE_SETS = ("several-structure-sets", WARNING,
        "{count} structure sets were contoured on the follow-up; {used} is used: {reason}")
    NOT_TAKEN = "not-taken", NOTE, "structures of {visit} that are not taken for lesions: {names}"
    NO_LESIONS_CONTOURED = ("no-lesions-drawn", WARNING,
        "no structure of the follow-up with contours looks like a lesion; empty does not mean gone")
    MASK_ON_EITHER = ("mask-on-either", WARNING,
        "the label map fits the grids of both scans; it is taken as drawn on the {scan}")
    EMPTY_MASK = "empty-mask", NOTE, "the label map holds no lesion: what does not enhance counts as vanished"
    LABELS_TOUCH = ("labels-touch", WARNING,
        "labels of the map touch one another: parts of one lesion belong together (--mask-values)")
    MERGED_LESIONS = "merged-lesions", NOTE, "{lesions} share a region at {visit}; they are measured together"
    NOTHING_CONTOURED = "nothing-drawn", NOTE, "nothing was drawn on the follow-up, and nothing was proposed"
    NOTHING_PROPOSED = "nothing-proposed", WARNING, "{reason}"
    LESION_NOT_CONTOURED = ("not-drawn", WARNING,
        "{lesion} was not drawn at {visit} although tissue enhances in its place: gone or forgotten?")
    PROPOSED_REGION = "proposed-region", WARNING, "'{name}': proposed by the program, not drawn by a person; edit it"
    PROPOSAL_LIMITED = ("proposal-limited", WARNING,
        "'{name}': the proposal reaches its limit ({limit:g} mm beyond the planned contour)")
    WEAK_CONTRAST = ("weak-contrast", WARNING,
        "'{name}': weak contrast ({contrast:.1f} standard deviations); the proposal is doubtful")

    # Subregions, alignment, export
    EMPTY_SUBREGION = "empty-subregion", NOTE, "{what}: nothing is contoured"
    ONE_VOXEL = "one-voxel", WARNING, "the subregion is a single voxel, less than the MR can tell apart"
    SMALLER_THAN_SHOT = ("smaller-than-shot", NOTE,
        "{volume:.3f} cm³ is less than one 4 mm shot paints ({shot:.2f} cm³){then}")
    UNSTEADY_SUBREGION = ("unsteady-subregion", WARNING,
        "the subregion is not steady: with the map 1 mm off, Dice falls to {dice:.2f}")
    BOOST_ESTIMATE = "boost-estimate", WARNING, "{note}"
    BOOST_IDLE = "boost-idle", NOTE, "the subregion receives {dose:g} {unit} already"
    NOT_CONTOURED = "not-contoured", WARNING, "{name} is not contoured: {quality_flags}"
    POINTS_OUTSIDE = "points-outside", NOTE, "{outside} of {count} points lie in no lesion of the map and are left out"
    FLAGGED_EVIDENCE = "evidence-in-doubt", WARNING, "{where}: its evidence is in doubt: {quality_flags}"
    NO_HABITAT = ("no-habitat", WARNING,
        "{patient}: the label map holds nothing within the lesions; check its frame of reference")
    FEW_PATIENTS = ("few-patients", WARNING,
        "{count} patient(s): intervals over patients are too narrow below {few}, and none is given for one")
    NO_ALIGNMENT = "no-alignment", WARNING, "type '{kind}': {reason}"
    EMPTY_REGION = "empty-region", WARNING, "{name} has no voxel and is not exported"
    NO_SLICE = ("no-slice", NOTE,
        "{name}: the MR has no slice at {places} mm along its normal; contours there refer to none")
    NO_SUBREGION = "no-subregion", NOTE, "no subregion is kept as a segment: DICOM holds the map only"
    NO_HIGHDICOM = ("no-highdicom", WARNING,
        "{package} is missing: DICOM holds the RTSTRUCT only, neither SEG nor Parametric Map")
    REGRIDDED = "regridded", NOTE, "{name} was drawn on other voxels than the MR's; it is exported on those of the MR"
    OTHER_MODEL = "other-model", WARNING, "{name} was drawn on the map of another model than the one that is exported"
    # fmt: on


@dataclass(frozen=True)
class Warning:
    """Something that a user must read beside a result; made by calling a `WarningCode`."""

    code: WarningCode
    text: str

    @property
    def severity(self) -> Severity:
        """See `Severity`."""
        return self.code.severity

    def as_json(self) -> dict[str, str]:
        """Plain values for JSON."""
        return {"code": self.code.value, "severity": self.severity.value, "text": self.text}

    def labeled(self) -> str:
        """The text with its severity in front, unless it is the usual one."""
        return labeled(**self.as_json())


def labeled(text: str, severity: str = WARNING.value, *, code: str = "") -> str:
    """The text of a warning as `Warning.as_json` gives it, see `Warning.labeled`."""
    return text if severity == WARNING.value else f"{severity}: {text}"


def withhold_class(warnings: Iterable[Warning]) -> bool:
    """Tell whether one of the warnings keeps a lesion from getting a class."""
    return any(w.code.withholds_class for w in warnings)


def by_severity(warnings: Iterable[Warning]) -> tuple[Warning, ...]:
    """The most serious first, otherwise in the order given; repetitions are left out."""
    order = list(Severity)
    return tuple(sorted(dict.fromkeys(warnings), key=lambda w: -order.index(w.severity)))
