"""Kind: objects and attributes that disagree. One stated rule decides, or the user is asked; never their order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from quirks import contours_of, edit, item

from corpus.members import Member, both, on, repeated, second, uid_of
from RTResponseCAMLib.dicom.files import decimal


def more_references(factors, fractions: int, first: bool = False, keep: int = 99):
    """Each ROI's dose reference again, its dose times a factor."""

    def alter(data: Dataset) -> None:
        own = list(data.DoseReferenceSequence)
        more = [
            repeated(i, TargetPrescriptionDose=decimal(f * float(i.TargetPrescriptionDose)))
            for f in factors
            for i in own[:keep]
        ]
        data.DoseReferenceSequence = more + own if first else own + more
        data.FractionGroupSequence[0].NumberOfFractionsPlanned = fractions

    return on("RP", alter)


def sites(*doses: float, fractions: int = 1):
    """Dose references that name no ROI."""

    def alter(data: Dataset) -> None:
        one = data.DoseReferenceSequence[0]
        data.DoseReferenceSequence = [
            repeated(one, ReferencedROINumber=None, DoseReferenceStructureType="SITE", TargetPrescriptionDose=str(dose))
            for dose in doses
        ]
        data.FractionGroupSequence[0].NumberOfFractionsPlanned = fractions

    return on("RP", alter)


def point_reference(data: Dataset) -> None:
    data.DoseReferenceSequence.append(
        repeated(data.DoseReferenceSequence[0], DoseReferenceStructureType="POINT", TargetPrescriptionDose="40")
    )


def two_groups(data: Dataset) -> None:
    data.FractionGroupSequence.append(repeated(data.FractionGroupSequence[0], NumberOfFractionsPlanned=5))


def in_cgy(data: Dataset) -> None:
    for reference in data.DoseReferenceSequence:
        reference.TargetPrescriptionDose = decimal(100 * float(reference.TargetPrescriptionDose))


def nothing_for_the_first(data: Dataset) -> None:
    for reference, dose in zip(data.DoseReferenceSequence, ("0", None, "26"), strict=True):
        reference.TargetPrescriptionDose = reference.TargetPrescriptionDose if dose is None else dose


SEVERAL = r"RP.dcm: states several prescriptions for GTV 1 \(.*300A,0026\).*--prescription"
REFERENCES = [
    Member("per fraction last", more_references([0.2], 5), warned=("several-prescriptions",)),
    Member("per fraction first", more_references([0.2], 5, first=True), warned=("several-prescriptions",)),
    Member("per fraction of three", more_references([1 / 3], 3), warned=("several-prescriptions",)),
    Member("the same twice", more_references([1.0], 1), silent=("several-prescriptions",)),
    Member("the same but for rounding", more_references([1.002], 1), warned=("several-prescriptions",)),
    Member("another level", more_references([0.8], 1), refused=SEVERAL),
    Member("another level first", more_references([0.8], 1, first=True), refused=SEVERAL),
    Member("a fifth of a single fraction", more_references([0.2], 1), refused=SEVERAL),
    Member("total, fraction and a level", more_references([0.2, 0.5], 5), refused=SEVERAL),
    Member(
        "another level, and the user says which", more_references([0.8], 1, keep=1),
        options={"prescriptions_gy": {"GTV 1": 20.0}}, expected={"rx_gy": {0: 20.0}},
    ),
    Member(
        "another level, and the user says it for all", more_references([0.8], 1), options={"prescription_gy": 21.0},
        expected={"rx_gy": {0: 21.0, 1: 21.0, 2: 21.0}},
    ),
    Member("site, total and per beam", sites(24, 4.8, 4.8, 4.8), refused=SEVERAL),
    Member("site, total and per fraction", sites(24, 4.8, fractions=5), warned=("several-prescriptions",),
           expected={"rx_gy": {0: 24.0, 1: 24.0, 2: 24.0}}),
    Member("site, two doses", sites(24, 20), refused=SEVERAL),
    Member("a point beside the volume", on("RP", point_reference), silent=("several-prescriptions",)),
    Member("a zero among doses", on("RP", nothing_for_the_first), warned=("no-prescription-of-its-own",),
           expected={"rx_gy": {0: 26.0, 2: 26.0}}),
    Member("in cGy", on("RP", in_cgy), refused=r"RP.dcm: TargetPrescriptionDose "
           r"\(300A,0026\) is \d+.*at most 200.*--prescription"),
    Member("fraction groups that differ", on("RP", two_groups), warned=("fractions-differ",)),
]  # fmt: skip


def status(value: str):
    return lambda data: setattr(data, "ApprovalStatus", value)


def rival(name: str, label: str, prescribed: float, own: str, other: str, dose: bool = True, **values):
    """Another plan of the same structures, with or without a dose of its own that is scaled likewise."""

    def change(folder: Path) -> None:
        edit(folder / "plan_t1c" / "RP.dcm", status(own))

        def alter(data: Dataset) -> None:
            data.RTPlanLabel, data.ApprovalStatus = label, other
            for keyword, value in values.items():
                setattr(data, keyword, value)
            for reference in data.DoseReferenceSequence:
                reference.TargetPrescriptionDose = str(prescribed)

        second("RP", name, alter)(folder)
        if dose:
            uid = uid_of(folder, name)

            def scaled(data: Dataset) -> None:
                data.DoseGridScaling = decimal(0.7 * float(data.DoseGridScaling))
                data.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID = uid

            second("RD", f"RD.of_{name}", scaled)(folder)

    return change


TWO_PLANS = r"holds 2 plans of the same structures.*--plan"
PLANS = [
    Member("rejected, sorted first", rival("RP.a.dcm", "other", 15, "APPROVED", "REJECTED"), warned=("plan-left-out",)),
    Member("rejected, sorted last", rival("RP.z.dcm", "other", 15, "APPROVED", "REJECTED"), warned=("plan-left-out",)),
    Member("rejected beside unapproved", rival("RP.a.dcm", "other", 15, "UNAPPROVED", "REJECTED")),
    Member("unapproved beside approved", rival("RP.a.dcm", "other", 15, "APPROVED", "UNAPPROVED")),
    Member("verification plan", rival("RP.a.dcm", "other", 15, "", "", PlanIntent="VERIFICATION")),
    Member("another without a dose", rival("RP.a.dcm", "other", 15, "", "", dose=False), warned=("plan-left-out",)),
    Member("both approved", rival("RP.a.dcm", "other", 15, "APPROVED", "APPROVED"), refused=TWO_PLANS),
    Member("both unapproved", rival("RP.z.dcm", "other", 15, "UNAPPROVED", "UNAPPROVED"), refused=TWO_PLANS),
    Member("chosen by label", rival("RP.a.dcm", "other", 15, "APPROVED", "APPROVED"), options={"plan": "GK plan"}),
    Member("chosen by file", rival("RP.a.dcm", "other", 15, "APPROVED", "APPROVED"), options={"plan": "RP.dcm"}),
    Member(
        "the other by label", rival("RP.a.dcm", "other", 15, "APPROVED", "REJECTED"), options={"plan": "other"},
        warned=("plan-status",), expected={"rx_gy": {0: 15.0, 1: 15.0, 2: 15.0}, "dose": 0.7},
    ),
    Member("the only plan is rejected", on("RP", status("REJECTED")),
           refused=r"RP.dcm: is REJECTED \(300E,0002\).*--plan"),
    Member("the only plan is rejected, and taken", on("RP", status("REJECTED")), options={"plan": "RP.dcm"},
           warned=("plan-status",)),
    Member("no such plan", on("RP", status("APPROVED")), options={"plan": "GK pIan"},
           refused="has no 'GK pIan'.*--plan"),
]  # fmt: skip


def scaled(factor: float, **values):
    def alter(data: Dataset) -> None:
        data.DoseGridScaling = decimal(factor * float(data.DoseGridScaling))
        for keyword, value in values.items():
            setattr(data, keyword, value)

    return alter


def beams(numbers: tuple[int, ...], planned: int):
    """A BEAM dose for each number; the parts of the plan's dose add up when there is one for each beam."""

    def change(folder: Path) -> None:
        def of_plan(data: Dataset) -> None:
            data.FractionGroupSequence[0].ReferencedBeamSequence = [
                item(ReferencedBeamNumber=n) for n in range(1, planned + 1)
            ]

        edit(folder / "plan_t1c" / "RP.dcm", of_plan)
        for place, number in enumerate(numbers):

            def part(data: Dataset, number=number) -> None:
                scaled(1 / planned, DoseSummationType="BEAM")(data)
                group = item(
                    ReferencedFractionGroupNumber=1, ReferencedBeamSequence=[item(ReferencedBeamNumber=number)]
                )
                data.ReferencedRTPlanSequence[0].ReferencedFractionGroupSequence = [group]

            second("RD", f"RD.beam{place}.dcm", part)(folder)
        (folder / "plan_t1c" / "RD.dcm").unlink()

    return change


def window(start: float, stop: float):
    """A box with some of the planes of the whole dose."""

    def alter(data: Dataset) -> None:
        pixels, offsets = data.pixel_array, np.asarray(data.GridFrameOffsetVector, float)
        first, last = int(start * len(pixels)), int(stop * len(pixels))
        data.PixelData = pixels[first:last].tobytes()
        data.NumberOfFrames = last - first
        data.ImagePositionPatient[2] = decimal(float(data.ImagePositionPatient[2]) + offsets[first])
        data.GridFrameOffsetVector = [decimal(o) for o in offsets[: last - first]]

    return alter


def as_part(kind: str):
    return lambda data: setattr(data, "DoseSummationType", kind)


def twice_as(kind: str):
    return both(on("RD", as_part(kind)), second("RD", "RD2.dcm", as_part(kind)))


TWO_DOSES = r"RD\w*.dcm: holds the dose of the whole plan.*3004,000A.*--dose"
DOSES = [
    Member("seven percent less", second("RD", "RD2.dcm", scaled(0.93)), refused=TWO_DOSES),
    Member("half, sorted first", second("RD", "RA.dcm", scaled(0.5)), refused=r"RA.dcm: holds the dose.*RD.dcm"),
    Member("two percent more on the same grid", second("RD", "RD2.dcm", scaled(1.02)), refused=TWO_DOSES),
    Member("the same", second("RD", "RD2.dcm", scaled(1.0)), warned=("dose-repeated",)),
    Member("a window that agrees", second("RD", "RD2.dcm", window(0.2, 0.8)), warned=("dose-repeated",)),
    Member("a window that differs", second("RD", "RD2.dcm", lambda d: (window(0.2, 0.8)(d), scaled(0.8)(d))),
           refused=TWO_DOSES),
    Member("one chosen", second("RD", "RD2.dcm", scaled(0.93)), options={"doses": ("RD2.dcm",)},
           expected={"dose": 0.93}, warned=("dose-chosen",)),
    Member("both chosen", second("RD", "RD2.dcm", scaled(0.25)), options={"doses": ("RD.dcm", "RD2.dcm")},
           expected={"dose": 1.25}, warned=("dose-summed",)),
    Member("none chosen", second("RD", "RD2.dcm", scaled(0.93)), options={"doses": ("none",)}, expected={"dose": None},
           warned=("no-dose",)),
    Member("no such file", second("RD", "RD2.dcm", scaled(0.93)), options={"doses": ("RD3.dcm",)},
           refused=r"has no RTDOSE 'RD3.dcm'.*--dose"),
    Member("one chosen twice", second("RD", "RD2.dcm", scaled(0.93)), options={"doses": ("RD.dcm", "RD.dcm")},
           refused=r"--dose: names a file twice: RD.dcm, RD.dcm"),
    Member("the same under two names, both chosen", second("RD", "RD2.dcm", scaled(1.0)),
           options={"doses": ("RD.dcm", "RD2.dcm")}, refused="holds the same dose as RD2?.dcm.*once with --dose"),
    Member("plan and fraction chosen", second("RD", "RD2.dcm", scaled(0.2, DoseSummationType="FRACTION")),
           options={"doses": ("RD.dcm", "RD2.dcm")}, refused=r"of the whole plan and of parts of it \(3004,000A\)"),
    Member("physical and effective chosen", second("RD", "RD2.dcm", scaled(1.1, DoseType="EFFECTIVE")),
           options={"doses": ("RD.dcm", "RD2.dcm")}, refused=r"two quantities \(DoseType 3004,0004\)"),
    Member("plan beside beam", second("RD", "RD2.dcm", scaled(0.5, DoseSummationType="BEAM")),
           warned=("dose-left-out",)),
    Member("physical and effective", second("RD", "RD2.dcm", scaled(1.1, DoseType="EFFECTIVE")),
           refused=r"two quantities \(DoseType 3004,0004\).*Gy \(RBE\).*--dose"),
    Member("effective chosen", second("RD", "RD2.dcm", scaled(1.1, DoseType="EFFECTIVE")),
           options={"doses": ("RD2.dcm",)}, expected={"dose": 1.1, "unit": "Gy (RBE)"}, warned=("dose-rbe",)),
    Member("every beam", beams((1, 2), 2), warned=("dose-summed",)),
    Member("one beam without a number", on("RD", as_part("BEAM")), warned=("dose-parts-unknown",)),
    Member("the whole dose twice as beams", twice_as("BEAM"), refused="may be one dose exported twice.*--dose"),
    Member("the whole dose twice as fractions", twice_as("FRACTION"), refused="may be one dose exported twice.*--dose"),
    Member("a beam is missing", beams((1, 2), 3), refused=r"the dose of beam 3 \(300C,0006\) is absent"),
    Member("a beam twice", beams((1, 2, 2), 2), refused=r"hold the dose of beam 2"),
]  # fmt: skip


def moved_contours(data: Dataset) -> None:
    contour = data.ROIContourSequence[0].ContourSequence[0]
    contour.ContourData = [decimal(float(v) + 1.0) for v in contour.ContourData]


def later(data: Dataset) -> None:
    data.StructureSetROISequence[0].ROIName = "GTV 1b"
    data.StructureSetDate = "20200111"


REST = ["GTV 2", "GTV 3"]
TWIN = r"has the SOP Instance UID \(0008,0018\) of .*, but different content"
TWINS = [
    Member("structure set changed", second("RS", "RS2.dcm", moved_contours, same_uid=True), refused=TWIN),
    Member("structure set copied", second("RS", "RS2.dcm", lambda d: None, same_uid=True), warned=("repeated-object",)),
    Member("plan changed", second("RP", "RP2.dcm", lambda d: setattr(d, "RTPlanLabel", "x"), same_uid=True),
           refused=f"{TWIN}|{TWO_PLANS}"),
    Member("dose changed", second("RD", "RD2.dcm", scaled(0.9), same_uid=True), refused=TWIN),
    Member("dose changed, one chosen", second("RD", "RD2.dcm", scaled(0.9), same_uid=True),
           options={"doses": ("RD.dcm",)}),
    Member("two structure sets, one of the plan", second("RS", "RS2.dcm", moved_contours), warned=("several-plans",)),
    Member("two structure sets, the later rejected", both(
        second("RS", "RS2.dcm", lambda d: (later(d), setattr(d, "ApprovalStatus", "REJECTED"))),
        lambda f: [(f / "plan_t1c" / name).unlink() for name in ("RP.dcm", "RD.dcm")]),
        expected={"dose": None}, beside=("several-plans",)),
    Member("two structure sets without plan", both(second("RS", "RS2.dcm", moved_contours), lambda f: [
        (f / "plan_t1c" / name).unlink() for name in ("RP.dcm", "RD.dcm")]), expected={"dose": None},
        refused="2 structure sets of the planning MR.*--structures"),
    Member("two structure sets without plan, one later", both(second("RS", "RS2.dcm", later), lambda f: [
        (f / "plan_t1c" / name).unlink() for name in ("RP.dcm", "RD.dcm")]),
        expected={"dose": None, "lesions": ["GTV 1b", *REST], "later": -1},
        warned=("several-plans",)),
    Member("two structure sets without plan, one chosen", both(second("RS", "RS2.dcm", moved_contours), lambda f: [
        (f / "plan_t1c" / name).unlink() for name in ("RP.dcm", "RD.dcm")]), expected={"dose": None},
        options={"structures": "RS.dcm"}),
]  # fmt: skip


def observations(*kinds: str):
    def alter(data: Dataset) -> None:
        one = data.RTROIObservationsSequence[0]
        data.RTROIObservationsSequence = [
            *(repeated(one, RTROIInterpretedType=kind) for kind in kinds), *list(data.RTROIObservationsSequence)[1:]
        ]  # fmt: skip

    return on("RS", alter)


def spiked(data: Dataset) -> None:
    """A point 40 mm away, and back, in every contour."""
    for contour in contours_of(data):
        points = np.asarray(contour.ContourData, dtype=float).reshape(-1, 3)
        tip = points[2] + [40.0, 0.0, 0.0]
        contour.ContourData = [decimal(v) for v in np.concatenate([points[:3], [tip], points[2:]]).ravel()]


def renamed_first(name: str):
    return on("RS", lambda data: setattr(data.StructureSetROISequence[0], "ROIName", name))


def named(name: str, kind: str):
    """The first ROI's name and type."""

    def alter(data: Dataset) -> None:
        data.StructureSetROISequence[0].ROIName = name
        data.RTROIObservationsSequence[0].RTROIInterpretedType = kind

    return on("RS", alter)


TYPES = [
    Member("organ, then GTV", observations("ORGAN", "GTV"), warned=("observations-differ",)),
    Member("GTV, then organ", observations("GTV", "ORGAN"), warned=("observations-differ",)),
    Member("spikes without width", on("RS", spiked)),
    Member("GTV twice", observations("GTV", "GTV"), silent=("observations-differ",)),
    Member("GTV and PTV", observations("PTV", "GTV"), warned=("observations-differ",), expected={"kind": "GTV"}),
    Member("CTV and PTV", observations("CTV", "PTV"), warned=("observations-differ",), expected={"kind": "CTV"}),
    Member("GTV and PTV of a name that is anatomy", both(observations("PTV", "GTV"), renamed_first("Skull base")),
           warned=("observations-differ", "name-type-differ"), expected={"lesions": ["Skull base", *REST]}),
    Member("GTV and avoidance of a name that is anatomy", both(
        observations("AVOIDANCE", "GTV"), renamed_first("Skull base")), warned=("observations-differ",),
        expected={"lesions": REST}),
    Member("GTV and nothing", observations("", "GTV"), silent=("observations-differ",)),
    Member("GTV-1 that is an organ", named("GTV-1", "ORGAN"), warned=("name-type-differ",),
           expected={"lesions": ["GTV-1", *REST]}),
    Member("Met_1 that is an organ", named("Met_1", "ORGAN"), warned=("name-type-differ",),
           expected={"lesions": ["Met_1", *REST]}),
    Member("brainstem that is a GTV", named("Brainstem", "GTV"), warned=("name-type-differ",),
           expected={"lesions": ["Brainstem", *REST]}),
    Member("liver that is an organ", named("Liver", "ORGAN"), silent=("name-type-differ",), expected={"lesions": REST}),
    *(Member(f"untyped {name}", named(name, ""), expected={"lesions": REST}) for name in (
        "Liver", "Breast", "Left parotid gland", "Spinal cord", "Hirnstamm", "Leber", "OpticChiasm", "Haut",
        "Outline")),
    *(Member(f"{name} of type '{kind}'", named(name, kind), warned=("small-for-name",), expected={"lesions": REST})
      for name, kind in (("Brain 3", ""), ("Brain_3", "ORGAN"), ("Kopf", "CONTROL"))),
    *(Member(f"{name} is no small head", named(name, ""), silent=("small-for-name",), expected={"lesions": REST})
      for name in ("Brain stem", "Head ring", "Eye")),
    Member("untyped Läsion", named("Läsion_1", ""), expected={"lesions": ["Läsion_1", *REST]}),
    Member("GTV that is to be avoided", named("GTV 1", "AVOIDANCE"), warned=("name-type-differ",),
           expected={"lesions": REST}),
]  # fmt: skip
