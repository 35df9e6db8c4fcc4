"""Kinds: who an object is of, when it was made, and what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from quirks import add_roi, item

from corpus.members import Member, both, copied_series, on, on_all, on_series
from RTResponseCAMLib.dicom.files import decimal

FOLLOW_UP, PLAN = "follow_up", ("plan_t1c",)


def persons(first: dict[str, str], later: dict[str, str], parts: tuple[str, ...] = (FOLLOW_UP,)):
    """Identity of the study, and of some of its folders."""

    def alter(data: Dataset, path: Path) -> None:
        for keyword, value in (first | (later if path.parent.name in parts else {})).items():
            setattr(data, keyword, value)

    return on_all(alter)


ONE = {"PatientID": "4711", "PatientName": "Doe^Jane", "PatientBirthDate": "19600203", "PatientSex": "F"}
NOBODY = {key: "" for key in ONE} | {"SpecificCharacterSet": "ISO_IR 192"}
ANON = ONE | {"PatientID": "ANON"}


def somebody_else(data: Dataset) -> None:
    data.PatientID, data.PatientName, data.PatientBirthDate = "0815", "Roe^R", "19500101"


NONE_LATER = {"days": []}
OTHER, PART = ("other-patient",), ("identity-differs",)
IDENTITY = [
    Member("all alike", persons(ONE, {}), silent=(*OTHER, *PART, "identity-unverified")),
    Member("another ID", persons(ONE, {"PatientID": "4712", "PatientName": "Roe^R", "PatientBirthDate": ""}),
           warned=OTHER, expected=NONE_LATER),
    Member("another ID, all else alike", persons(ONE, {"PatientID": "0815"}), warned=PART),
    Member("ID with blanks", persons(ONE, {"PatientID": " 4711 "}), silent=PART),
    Member("a new name", persons(ONE, {"PatientName": "Smith^Jane Mary"}), warned=PART),
    Member("a second name", persons(ONE, {"PatientName": "DOE^JANE^MARY"}), silent=PART),
    Member("same ID, other name and birth date", persons(ONE, {"PatientName": "Roe^R", "PatientBirthDate": "19500101"}),
           warned=OTHER, expected=NONE_LATER),
    Member("same ID, other birth date and sex", persons(ONE, {"PatientSex": "M", "PatientBirthDate": "19500101"}),
           warned=OTHER, expected=NONE_LATER),
    *(Member(f"ID {word}, another person", persons(ONE | {"PatientID": word}, {
        "PatientID": word, "PatientName": "Roe^R", "PatientBirthDate": "19500101", "PatientSex": "M"}),
        warned=OTHER, expected=NONE_LATER) for word in ("ANON", "Anonymous", "0000", "unknown", "REMOVED", "")),
    Member("ID ANON, other sex alone", persons(ANON, {"PatientSex": "M"}), warned=OTHER, expected=NONE_LATER),
    Member("ID ANON, all else alike", persons(ANON, {}), silent=OTHER),
    Member("nothing to compare", persons({"PatientID": "ANON", "PatientName": "ANON", "PatientBirthDate": "",
                                          "PatientSex": ""}, {}), warned=("identity-unverified",)),
    Member("plan of another ID", persons(ONE | {"PatientBirthDate": ""}, {"PatientID": "04711"}, PLAN),
           refused=r"RS.dcm: belongs to another patient.*Patient ID \(0010,0020\)"),
    Member("plan of another ID, name and birth date agree", persons(ONE, {"PatientID": "04711"}, PLAN), warned=PART),
    Member("numbered pseudonyms", persons(NOBODY | {"PatientID": "ANON0001"}, {"PatientID": "ANON0002"}), warned=OTHER,
           expected=NONE_LATER),
    Member("names of one sign each", persons(NOBODY | {"PatientName": "王^芳"}, {"PatientName": "李^娜"}), warned=OTHER,
           expected=NONE_LATER),
    Member("dose of another person", both(persons(ONE, {}), on("RD", somebody_else)), warned=("not-linked", "no-dose"),
           expected={"dose": None}),
    Member("plan of another person", persons(ANON, {"PatientName": "Roe^R"}, PLAN), refused=r"Name \(0010,0010\)"),
]  # fmt: skip


def dated(form):
    """Every date in another form; ``form`` gets the date and the file."""

    def alter(data: Dataset, path: Path) -> None:
        for element in data:
            if element.VR == "DA" and element.value:
                element._value = form(str(element.value), path)

    return on_all(alter)


def mr_earlier(days: int):
    """Everything of the plan but its MR is that many days later."""

    def alter(data: Dataset) -> None:
        for keyword in ("SeriesDate", "ContentDate", "RTPlanDate", "StructureSetDate"):
            if keyword in data:
                date = str(data[keyword].value)
                moved = np.datetime64(f"{date[:4]}-{date[4:6]}-{date[6:]}") + np.timedelta64(days, "D")
                setattr(data, keyword, str(moved).replace("-", ""))

    return both(*(on(file, alter) for file in ("RS", "RP", "RD")))


def acquired(data: Dataset, number: int) -> None:
    data.AcquisitionDate = "20200102"


def content_date_alone(folder: Path) -> None:
    def alter(data: Dataset, number: int) -> None:
        date = data.SeriesDate
        for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate"):
            if keyword in data:
                del data[keyword]
        data.ContentDate = date

    on_series(FOLLOW_UP, alter)(folder)


def dated_twice(folder: Path) -> None:
    on_series(FOLLOW_UP, lambda data, number: setattr(data, "AcquisitionDate", "20000102"))(folder)


DATES = [
    Member("dots", dated(lambda d, p: f"{d[:4]}.{d[4:6]}.{d[6:]}")),
    Member("dashes", dated(lambda d, p: f"{d[:4]}-{d[4:6]}-{d[6:]}")),
    Member("slashes", dated(lambda d, p: f"{d[:4]}/{d[4:6]}/{d[6:]}")),
    Member("day first", dated(lambda d, p: f"{d[6:]}{d[4:6]}{d[:4]}"), warned=("date-unknown",),
           expected={"days": [None]}),
    Member("of 1900", dated(lambda d, p: "19000101"), warned=("dates-alike",), expected={"days": [None]}),
    Member("of 1925", dated(lambda d, p: "19250101"), warned=("dates-alike",), expected={"days": [None]}),
    Member("all on one day", dated(lambda d, p: "20200110"), warned=("dates-alike",), expected={"days": [None]}),
    Member("of the future", dated(lambda d, p: d.replace("2020", "2999")), warned=("date-unknown",),
           expected={"days": [None]}),
    Member("follow-up of 1900", dated(lambda d, p: "19000101" if p.parent.name == FOLLOW_UP else d),
           warned=("date-unknown",), expected={"days": [None]}),
    Member("follow-up in words", dated(lambda d, p: "in April" if p.parent.name == FOLLOW_UP else d),
           warned=("date-unknown",), expected={"days": [None]}),
    Member("MR a month before the plan", mr_earlier(30), warned=("mr-before-plan",), expected={"later": -30}),
    Member("MR a day before the plan", mr_earlier(1), silent=("mr-before-plan",), expected={"later": -1}),
    Member("MR half a year before the plan", mr_earlier(200), warned=("plan-long-after-mr",)),
    Member("scan dated before and after", dated_twice, warned=("date-unknown",), expected={"days": [None]}),
    Member("follow-up with a content date alone", content_date_alone),
    Member("plan before its MR", mr_earlier(-40), warned=("plan-before-mr",)),
    Member("acquired on another day than the study", on_series("t1c", acquired), warned=("dates-differ",)),
    Member("plan without a date", on("RP", lambda d: delattr(d, "RTPlanDate"))),
]  # fmt: skip


def described(name: str, agent: str | None = None, **values):
    """Series Description of the follow-up, and its agent."""

    def alter(data: Dataset, number: int) -> None:
        data.SeriesDescription = name
        for keyword, value in values.items():
            setattr(data, keyword, value)
        if agent is None:
            del data.ContrastBolusAgent
        else:
            data.ContrastBolusAgent = agent

    return on_series(FOLLOW_UP, alter)


NATIVE = (
    "T1_PRE_CONTRAST", "t1 pre contrast", "T1 without_contrast", "T1 sin contraste", "T1 sans gado", "T1_noGd",
    "t1 ohne KM", "T1_nativ", "T1 C-", "T1 senza mdc", "T1 sem contraste", "T1 zonder contrast", "T1 non-Gd",
    "T1 avant injection", "T1 w/o", "T1 bez kontrastu", "AX T1 PRE-GAD", "T1 平扫",
    "T1 造影前", "T1 造影なし", "T1 增强前", "T1 KM-", "T1 -Gd", "T1 contrast-free", "T1 w/out contrast", "T1 oKM",
    "T1 przed kontrastem", "T1 unenhanced", "T1 prior to contrast", "T1 kontrastsız", "T1 antes do contraste", "T1 vKM",
)  # fmt: skip
ENHANCED = (
    "t1_mprage_tra_km", "t1_mpr_ce", "T1_Gd", "T1 +C", "t1 C+ sag", "T1postGd", "T1 con gadolinio", "T1 avec gado",
    "T1 mit KM", "t1ce", "T1_MPRAGE_POST", "T1 post-op +C", "T1 造影", "T1 con contraste", "gdT1w", "T1 post contrast",
    "Т1 с КУ", "sub-01 ses-02 T1 +C", "T1 post GAD post RT", "T1 POST AX", "T1 KM+", "T1 nKM", "T1 i.v. KM", "T1 iv KM",
)  # fmt: skip
UNSURE = (
    "T1 MPRAGE", "T1 posterior fossa", "t1_post_op", "T1 w/wo contrast", "T1 post SRS", "T1 post GKRS", "T1 post XRT",
    "T1 3mo post", "T1 post embolization", "T1 pre & post Gd", "AX 3D ISO", "T1 enhanced resolution", "T1 CE-mark",
)  # fmt: skip


def derived(name: str, *kinds: str):
    """Another series of the follow-up's day, computed from it."""

    def change(folder: Path) -> None:
        def alter(data: Dataset, number: int) -> None:
            data.SeriesDescription, data.ImageType = name, ["DERIVED", "SECONDARY", *kinds]

        copied_series(folder, FOLLOW_UP, "computed", alter)

    return change


def first_is_localizer(data: Dataset, number: int) -> None:
    data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"] if number == 0 else ["ORIGINAL", "PRIMARY", "M"]


def raw(sop_class: str):
    """An object without pixels or place, of the planning series."""

    def change(folder: Path) -> None:
        data = pydicom.dcmread(folder / "t1c" / "MR.0001.dcm", stop_before_pixels=True)
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = sop_class
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5.6.7"
        for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
                        "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"):  # fmt: skip
            del data[keyword]
        data.save_as(folder / "t1c" / "raw.dcm")

    return change


IMAGES = [
    *(Member(f"native: {name}", described(name), silent=("series-unsure",), expected=NONE_LATER) for name in NATIVE),
    *(Member(f"enhanced: {name}", described(name)) for name in ENHANCED),
    *(Member(f"unsure: {name}", described(name), warned=("series-unsure",), expected=NONE_LATER) for name in UNSURE),
    Member("unsure, and taken by the user", described("T1 MPRAGE"), options={"visits": ("mprage",)}),
    Member("no such visit", described("T1 MPRAGE"), options={"visits": ("space",)},
           refused=r"'space'.*--visit"),
    *(Member(f"agent {agent}", described("T1 MPRAGE", agent), expected=NONE_LATER)
      for agent in ("NO CONTRAST", "no", "None given", "kein KM", "0 ml", "w/o")),
    Member("agent without a name", described("", "Gadovist")),
    Member("agent against the name", described("T1 pre contrast", "Gadovist"), warned=("series-unsure",),
           expected=NONE_LATER),
    Member("agent NONE against the name", described("T1 post Gd", "NONE"), warned=("series-unsure",),
           expected=NONE_LATER),
    Member("T2 with agent", described("T2 TSE", "Gadovist"), expected=NONE_LATER),
    Member("long echo with agent", described("AX", "Gadovist", EchoTime="95"), expected=NONE_LATER),
    Member("subtraction by Image Type", derived("T1 post-pre +C", "SUBTRACTION"), warned=("series-derived",)),
    Member("subtraction by name", derived("T1 SUB post-pre", "OTHER"), warned=("series-derived",)),
    Member("projection", derived("T1 +C MIP", "MIP"), warned=("series-derived",)),
    Member("minimum", derived("T1 +C MinIP"), warned=("series-derived",)),
    Member("map", derived("T1 +C map", "T1 MAP"), warned=("series-derived",)),
    Member("difference", derived("T1 post minus pre"), warned=("series-derived",)),
    Member("fusion", derived("T1 +C", "FUSION"), warned=("series-derived",)),
    Member("one localizer among its slices", on_series(FOLLOW_UP, first_is_localizer)),
    Member("localizer", derived("T1 +C", "LOCALIZER"), warned=("series-derived",)),
    Member("reformat", derived("T1 +C cor", "MPR"), warned=("series-of-visit",)),
    Member("second scan of the day", derived("T1 +C again"), warned=("series-of-visit",)),
    Member("raw data", raw("1.2.840.10008.5.1.4.1.1.66"), warned=("not-an-image",)),
    Member("spectroscopy", raw("1.2.840.10008.5.1.4.1.1.4.2"), warned=("not-an-image",)),
    Member("screen copy", raw("1.2.840.10008.5.1.4.1.1.7"), warned=("not-an-image",)),
    Member("dose that says it is an MR", on("RD", lambda d: setattr(d, "Modality", "MR")),
           warned=("modality-differs",)),
]  # fmt: skip


def without_frames(data: Dataset) -> None:
    del data.ReferencedFrameOfReferenceSequence


def without_links(data: Dataset) -> None:
    without_frames(data)
    for roi in data.StructureSetROISequence:
        del roi.ReferencedFrameOfReferenceUID


def without_anything(data: Dataset) -> None:
    without_links(data)
    for roi in data.ROIContourSequence:
        for contour in roi.ContourSequence:
            if "ContourImageSequence" in contour:
                del contour.ContourImageSequence


def renamed(data: Dataset) -> None:
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5.6.8"


def closed_as(kind: str, every: int):
    def alter(data: Dataset) -> None:
        for roi in data.ROIContourSequence:
            for number, contour in enumerate(roi.ContourSequence):
                if number % every == 0:
                    contour.ContourGeometricType = kind

    return on("RS", alter)


def outlines_twice(alter):
    """The first ROI's outlines again in their planes, changed."""

    def change(data: Dataset) -> None:
        roi = data.ROIContourSequence[0]
        for contour in list(roi.ContourSequence):
            points = alter(np.asarray(contour.ContourData, float).reshape(-1, 3))
            roi.ContourSequence.append(
                item(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=len(points),
                     ContourData=[decimal(v) for v in points.ravel()])
            )  # fmt: skip

    return on("RS", change)


def untyped(*names: str):
    def alter(data: Dataset) -> None:
        for observation in data.RTROIObservationsSequence:
            observation.RTROIInterpretedType = ""
        for roi, name in zip(data.StructureSetROISequence, names, strict=True):
            roi.ROIName = name

    return on("RS", alter)


def union(data: Dataset) -> None:
    """Another ROI that holds all targets together."""
    contours = [c.ContourData for roi in list(data.ROIContourSequence)[:3] for c in roi.ContourSequence]
    add_roi(data, "GTV total", "GTV", [np.asarray(c, float).reshape(-1, 3) for c in contours])


STRUCTURES = [
    Member("no referenced frame", on("RS", without_frames), warned=("series-by-images",)),
    Member("no frame at all", on("RS", without_links), warned=("series-by-images",)),
    Member("no reference at all", on("RS", without_anything), refused=r"RS.dcm: names neither.*3006,0010.*3006,0016"),
    Member("structure set exported again", on("RS", renamed), warned=("plan-by-frame",)),
    Member("interpolated contours", closed_as("INTERPOLATED_PLANAR", 2), silent=("open-contours", "contour-type")),
    Member("lower case", closed_as("closed_planar", 1), silent=("contour-type",)),
    Member("no type", closed_as("", 1), silent=("contour-type",)),
    Member("a type of its own", closed_as("CLOSED_SPLINE", 1), warned=("contour-type",)),
    Member("open lines", closed_as("OPEN_PLANAR", 1), refused="has no target with contours"),
    Member("outlines twice, as they are", outlines_twice(lambda p: p)),
    Member("outlines twice, every second point", outlines_twice(lambda p: p[::2])),
    Member("outlines twice, the other way round", outlines_twice(lambda p: p[::-1])),
    Member("outlines twice, begun elsewhere", outlines_twice(lambda p: np.roll(p, 7, axis=0))),
    Member("outlines twice, a tenth off", outlines_twice(lambda p: p + np.array([0.1, -0.1, 0.0]))),
    Member("outlines twice, in between points", outlines_twice(lambda p: (p + np.roll(p, 1, axis=0)) / 2)),
    Member("untyped, with an outline", untyped("Met 1", "Met_2", "met-3", "Outline"),
           expected={"lesions": ["Met 1", "Met_2", "met-3"]}),
    *(Member(f"untyped, with the isodose {name}", untyped(name, "Met 2", "Met 3", "Skull"),
             expected={"lesions": ["Met 2", "Met 3"]}) for name in ("12 Gy", "50%", "V12Gy", "13,5 Gy")),
    Member("untyped, with an isodose", untyped("Met 1", "Met 2", "Met 3", "12Gy"),
           expected={"lesions": ["Met 1", "Met 2", "Met 3"]}),
    Member("untyped, with a patient's contour", untyped("A", "B", "C", "Kontur 1"), warned=("holds-targets",),
           expected={"lesions": ["A", "B", "C"]}),
    Member("a sum of all targets", on("RS", union), warned=("holds-targets",)),
]  # fmt: skip
