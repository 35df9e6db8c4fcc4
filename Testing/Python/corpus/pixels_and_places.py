"""Kinds: attributes that change what pixels mean or where they lie; rounding, tolerances, acquisitions, packages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from quirks import ENHANCED_MR, contours_of, edit, item, make_enhanced, name_no_images

from corpus.members import Member, copied_series, on, on_series
from RTResponseCAMLib.dicom.files import decimal


def dose(**values):
    def alter(data: Dataset) -> None:
        for keyword, value in values.items():
            setattr(data, keyword, value)

    return on("RD", alter)


def wide(stored: int, high: int | None = None):
    """32 bits allocated, fewer stored, values above 65535."""

    def alter(data: Dataset) -> None:
        data.PixelData = (data.pixel_array.astype("<u4") * 16).tobytes()
        data.DoseGridScaling = decimal(float(data.DoseGridScaling) / 16)
        data.BitsAllocated, data.BitsStored, data.HighBit = 32, stored, stored - 1 if high is None else high

    return on("RD", alter)


def lookup_table(data: Dataset, number: int) -> None:
    table = item(LUTDescriptor=[2, 0, 16], ModalityLUTType="US")
    table.add_new(0x00283006, "US", [0, 100])
    data.ModalityLUTSequence = [table]


def effective(data: Dataset) -> None:
    data.DoseType = "EFFECTIVE"


def ion_plan(data: Dataset) -> None:
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.8"


def moved(x: float, y: float, z: float):
    def alter(data: Dataset) -> None:
        data.ImagePositionPatient = [
            decimal(float(c) + s) for c, s in zip(data.ImagePositionPatient, (x, y, z), strict=True)
        ]

    return on("RD", alter)


def along(kind: str):
    """Planes of the dose in another way of stating where they lie."""

    def alter(data: Dataset) -> None:
        pixels = data.pixel_array
        x, y, z = (float(c) for c in data.ImagePositionPatient)
        offsets = np.asarray(data.GridFrameOffsetVector, float)
        last, width = offsets[-1], (pixels.shape[2] - 1) * float(data.PixelSpacing[1])
        if kind.startswith("feet first"):
            pixels = pixels[::-1, :, ::-1]
            data.ImageOrientationPatient = ["-1", "0", "0", "0", "1", "0"]
            x, z = x + width, z + last
        if kind == "feet first, patient z":
            offsets = z - offsets
        elif kind == "patient z":
            offsets = z + offsets
        elif kind == "neither":
            offsets = offsets + 7.0
        data.PixelData = np.ascontiguousarray(pixels).tobytes()
        data.ImagePositionPatient = [decimal(x), decimal(y), decimal(z)]
        data.GridFrameOffsetVector = [decimal(o) for o in offsets]

    return on("RD", alter)


def of_mr(**values):
    return on_series("t1c", lambda data, number: [setattr(data, k, v) for k, v in values.items()])


def padded(data: Dataset, number: int) -> None:
    pixels = data.pixel_array.copy()
    pixels[:4] = 60000
    data.PixelData = pixels.tobytes()
    data.add_new(0x00280120, "US", 60000)


def padded_range(data: Dataset, number: int) -> None:
    pixels = data.pixel_array.copy()
    pixels[:4] = 60000 + number % 7
    data.PixelData = pixels.tobytes()
    data.add_new(0x00280120, "US", 60000)
    data.add_new(0x00280121, "US", 60010)


STORED = r"RD.dcm: BitsStored \(0028,0101\) is \d+ and BitsAllocated \(0028,0100\)"
PIXELS = [
    Member("dose, 16 of 32 bits", wide(16), refused=STORED),
    Member("dose, 20 of 32 bits", wide(20), refused=STORED),
    Member("dose, 32 of 32 bits", wide(32)),
    Member("dose, 12 of 16 bits", dose(BitsStored=12, HighBit=11), refused=STORED),
    Member("dose, high bit", wide(32, 15), refused=r"HighBit \(0028,0102\) is 15"),
    Member("dose, signed and above half", dose(PixelRepresentation=1), refused=r"Representation \(0028,0103\) is 1"),
    Member("dose, inverted", dose(PhotometricInterpretation="MONOCHROME1"), refused=r"\(0028,0004\) is MONOCHROME1"),
    Member("dose, palette", dose(PhotometricInterpretation="PALETTE COLOR"), refused=r"\(0028,0004\) is PALETTE"),
    Member("dose, second scaling", dose(RescaleSlope="2"), refused=r"RescaleSlope \(0028,1053\)"),
    Member("dose, offset", dose(RescaleIntercept="5"), refused=r"RescaleIntercept \(0028,1052\)"),
    Member("dose, neutral rescaling", dose(RescaleSlope="1", RescaleIntercept="0")),
    Member("dose of a fraction as plan", on("RD", lambda d: setattr(d, "DoseGridScaling", decimal(
        float(d.DoseGridScaling) / 5))), refused=r"RD.dcm: holds a dose maximum.*DoseGridScaling \(3004,000E\)"),
    Member("dose in cGy", on("RD", lambda d: setattr(d, "DoseGridScaling", decimal(float(d.DoseGridScaling) * 100))),
           refused=r"RD.dcm: holds a dose maximum"),
    Member("dose error", dose(DoseType="ERROR"), refused=r"DoseType \(3004,0004\) is ERROR"),
    Member("effective dose", on("RD", effective), warned=("dose-rbe",), expected={"unit": "Gy (RBE)"}),
    Member("ion plan, physical dose", on("RP", ion_plan), warned=("ion-prescription",)),
    Member("ion plan, effective dose", lambda f: (on("RP", ion_plan)(f), on("RD", effective)(f)), warned=("dose-rbe",),
           silent=("ion-prescription",), expected={"unit": "Gy (RBE)"}),
    Member("MR, inverted", of_mr(PhotometricInterpretation="MONOCHROME1"), refused=r"\(0028,0004\) is MONOCHROME1"),
    Member("MR, lookup table", on_series("t1c", lookup_table), refused=r"Modality LUT Sequence 0028,3000"),
    Member("MR, high bit", of_mr(BitsStored=12, HighBit=15), refused=r"HighBit \(0028,0102\) is 15"),
    Member("MR, padding", on_series("t1c", padded), warned=("pixel-padding",), expected={"mr": "padded"}),
    Member("MR, a range of padding", on_series("t1c", padded_range), warned=("pixel-padding",),
           expected={"mr": "padded"}),
]  # fmt: skip
PLACES = [
    Member("dose, patient z", along("patient z")),
    Member("dose, feet first", along("feet first")),
    Member("dose, feet first and patient z", along("feet first, patient z")),
    Member("dose, neither relative nor patient z", along("neither"), refused=r"\(3004,000C\) begins with 7, neither 0"),
    Member("dose, patient z on tilted planes", lambda f: (along("patient z")(f), dose(ImageOrientationPatient=[
        "1", "0", "0", "0", "0", "-1"])(f)), refused=r"\(3004,000C\).*planes that are not axial"),
    Member("dose 15 cm off", moved(150, 0, 0), refused=r"gives every lesion less than half.*0020,0032"),
    Member("dose 15 cm off along z", moved(0, 0, -150), refused=r"gives every lesion less than half"),
]  # fmt: skip


def tilted(decimals: int, cosines: int = 8):
    """The study tilted by ten degrees, positions and directions of the MR stated to some decimals."""
    t = np.radians(10.0)
    turn = np.array([[1, 0, 0], [0, np.cos(t), -np.sin(t)], [0, np.sin(t), np.cos(t)]])

    def change(folder: Path) -> None:
        for path in sorted((folder / "t1c").glob("*.dcm")):

            def alter(data: Dataset) -> None:
                place = turn @ np.asarray(data.ImagePositionPatient, float)
                data.ImagePositionPatient = [f"{c:.{decimals}f}" for c in place]
                data.ImageOrientationPatient = [f"{c:.{cosines}f}" for c in (1, 0, 0, 0, np.cos(t), np.sin(t))]

            edit(path, alter)

        def contours(data: Dataset) -> None:
            for roi in data.ROIContourSequence:
                for contour in roi.ContourSequence:
                    points = np.asarray(contour.ContourData, float).reshape(-1, 3) @ turn.T
                    contour.ContourData = [decimal(v) for v in points.ravel()]

        edit(folder / "plan_t1c" / "RS.dcm", contours)

        def box(data: Dataset) -> None:
            data.ImagePositionPatient = [decimal(c) for c in turn @ np.asarray(data.ImagePositionPatient, float)]
            data.ImageOrientationPatient = [decimal(c) for c in (1, 0, 0, 0, np.cos(t), np.sin(t))]

        edit(folder / "plan_t1c" / "RD.dcm", box)

    return change


def second_echo(off_mm: float):
    """Each slice again as a later echo at half the signal, a little off."""

    def change(folder: Path) -> None:
        for path in sorted((folder / "t1c").glob("*.dcm")):
            data = pydicom.dcmread(path)
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid(
                entropy_srcs=["e", path.name]
            )
            data.EchoTime = "9.2"
            place = [float(c) for c in data.ImagePositionPatient]
            data.ImagePositionPatient = [decimal(c) for c in (*place[:2], place[2] + off_mm)]
            data.PixelData = (data.pixel_array // 2).astype("<u2").tobytes()
            data.save_as(path.with_name(f"e2_{path.name}"))

    return change


def packages(acquisitions: int, each: int, **constant):
    """Earlier acquisitions of the same slices at half the signal, each in interleaved packages of one time each."""

    def change(folder: Path) -> None:
        for number, path in enumerate(sorted((folder / "t1c").glob("*.dcm"))):
            for acquisition in range(acquisitions):
                data = pydicom.dcmread(path)
                for keyword, value in constant.items():
                    setattr(data, keyword, value)
                data.AcquisitionTime = f"{10 + acquisition}{(number % each) * 10:02d}00"
                if acquisition == acquisitions - 1:
                    data.save_as(path)
                    continue
                key = [str(acquisition), path.name]
                data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=key)
                data.PixelData = (data.pixel_array // 2).astype("<u2").tobytes()
                data.save_as(path.with_name(f"a{acquisition}_{path.name}"))

    return change


def jittered(keyword: str, amount: float):
    """A geometry attribute that differs by rounding from slice to slice."""

    def alter(data: Dataset, number: int) -> None:
        values = [float(v) for v in data[keyword].value]
        setattr(data, keyword, [decimal(v + (amount if number % 2 else -amount)) for v in values])

    return on_series("t1c", alter)


def placed(along, sideways=lambda n: 0.0):
    """Positions to six decimals on exact axes, moved along the normal and sideways."""

    def alter(data: Dataset, number: int) -> None:
        x, y, z = (float(c) for c in data.ImagePositionPatient)
        data.ImagePositionPatient = [f"{c:.6f}" for c in (x + sideways(number), y, z + along(number))]
        data.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]

    return on_series("t1c", alter)


def phase_images(folder: Path) -> None:
    """The phase of the signal at the same places, in the same series."""

    def alter(data: Dataset, number: int) -> None:
        data.SeriesInstanceUID = pydicom.dcmread(folder / "t1c" / "MR.0001.dcm").SeriesInstanceUID
        data.ImageType = ["ORIGINAL", "PRIMARY", "P", "ND"]
        data.PixelData = (4095 - data.pixel_array).astype("<u2").tobytes()

    copied_series(folder, "t1c", "phase", alter)
    edit(folder / "plan_t1c" / "RS.dcm", name_no_images)


def drawn_on_the_first(folder: Path, lists_both: bool = True) -> None:
    """A later acquisition at half the signal that the structure set may list as well; its contours name the first."""
    listed = []

    def later(data: Dataset, number: int) -> None:
        data.SeriesInstanceUID = pydicom.dcmread(folder / "t1c" / "MR.0001.dcm").SeriesInstanceUID
        data.AcquisitionNumber, data.PixelData = 10, (data.pixel_array // 2).astype("<u2").tobytes()
        listed.append(str(data.SOPInstanceUID))

    copied_series(folder, "t1c", "later", later)

    def list_both(data: Dataset) -> None:
        series = data.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
        kind = series.ContourImageSequence[0].ReferencedSOPClassUID
        series.ContourImageSequence += [item(ReferencedSOPClassUID=kind, ReferencedSOPInstanceUID=u) for u in listed]

    if lists_both:
        edit(folder / "plan_t1c" / "RS.dcm", list_both)


def naming(**values):
    """Contours that say something else of the images that they were drawn on; the set lists the first acquisition."""

    def change(folder: Path) -> None:
        drawn_on_the_first(folder, lists_both=False)

        def alter(data: Dataset) -> None:
            for contour in contours_of(data):
                for image in contour.get("ContourImageSequence", ()):
                    for keyword, value in values.items():
                        image.add_new(keyword, "LO" if keyword == "ReferencedFrameNumber" else "UI", value)

        edit(folder / "plan_t1c" / "RS.dcm", alter)

    return change


def drawn_on_frames(by_contours: bool):
    """Frames of one enhanced object: those drawn on, and after them others at half the signal."""

    def change(folder: Path) -> None:
        path = make_enhanced(folder / "t1c", second_echo=True)

        def swap_echoes(data: Dataset) -> None:  # the first frames are those at half the signal
            for frame in data.PerFrameFunctionalGroupsSequence:
                echo = frame.MREchoSequence[0]
                echo.EffectiveEchoTime = 12.0 - echo.EffectiveEchoTime

        edit(path, swap_echoes)
        frames = int(pydicom.dcmread(path).NumberOfFrames)
        of = {
            "ReferencedSOPClassUID": ENHANCED_MR,
            "ReferencedSOPInstanceUID": str(pydicom.dcmread(path).SOPInstanceUID),
        }

        def name_frames(data: Dataset) -> None:
            series = data.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence
            name_no_images(data)
            drawn = list(range(frames // 2 + 1, frames + 1))
            series[0].ContourImageSequence = [item(**of, **({} if by_contours else {"ReferencedFrameNumber": drawn}))]
            for number, contour in enumerate(contours_of(data) if by_contours else []):
                contour.ContourImageSequence = [item(**of, ReferencedFrameNumber=drawn[number % len(drawn)])]

        edit(folder / "plan_t1c" / "RS.dcm", name_frames)

    return change


def phases(folder: Path) -> None:
    """Three phases, two of them under one Acquisition Number, and nothing else that tells them apart."""
    for phase in (1, 2):

        def alter(data: Dataset, number: int, phase=phase) -> None:
            data.SeriesInstanceUID = pydicom.dcmread(folder / "t1c" / "MR.0001.dcm").SeriesInstanceUID
            data.AcquisitionNumber = 1
            data.PixelData = (data.pixel_array // (phase + 1)).astype("<u2").tobytes()

        copied_series(folder, "t1c", f"phase{phase}", alter)
    on_series("t1c", lambda data, number: setattr(data, "AcquisitionNumber", 2))(folder)


def own_series(data: Dataset, number: int) -> None:
    data.SeriesInstanceUID = f"1.2.826.0.1.3680043.8.498.77.{number + 1}"


def own_number(data: Dataset, number: int) -> None:
    own_series(data, number)
    data.SeriesNumber = str(number + 1)


def own_acquisition(data: Dataset, number: int) -> None:
    own_series(data, number)
    data.AcquisitionNumber = str(number + 1)


ROUNDED = ("sheared-slices", "uneven-slices", "slice-gap")
ELSEWHERE = {"mr": "elsewhere"}
TOLERANCES = [
    Member("positions as they are", tilted(6), silent=("rounded-positions", *ROUNDED), expected=ELSEWHERE),
    Member("positions to 0.1 mm", tilted(1), warned=("rounded-positions",), silent=ROUNDED, expected=ELSEWHERE),
    Member("positions to 0.01 mm", tilted(2), silent=ROUNDED, expected=ELSEWHERE),
    Member("directions to three decimals", tilted(6, 3), silent=ROUNDED, expected=ELSEWHERE),
    Member("directions to four decimals", tilted(4, 4), silent=ROUNDED, expected=ELSEWHERE),
    *(Member(f"second echo {mm:g} mm off", second_echo(mm), warned=("several-acquisitions",), silent=ROUNDED)
      for mm in (0.0, 0.0005, 0.01, 0.1)),
    *(Member(f"{n} acquisitions in {each} packages", packages(n, each, AcquisitionNumber=1),
             warned=("several-acquisitions",), silent=ROUNDED) for n in (2, 3) for each in (1, 2, 4)),
    Member("directions that jitter", jittered("ImageOrientationPatient", 4e-5), silent=("several-stacks",),
           expected=ELSEWHERE),
    Member("spacing that jitters", jittered("PixelSpacing", 4e-5), silent=("several-stacks",), expected=ELSEWHERE),
    Member("steps of 1.6 and 2.4 mm", placed(lambda n: 0.4 * (n % 2)), warned=("uneven-slices",),
           silent=("rounded-positions",), expected={"mr": "resampled"}),
    Member("a gantry's tilt", placed(lambda n: 0.0, lambda n: 0.05 * n), warned=("sheared-slices",),
           silent=("rounded-positions",), expected={"mr": "resampled"}),
    Member("slices that jump sideways", placed(lambda n: 0.0, lambda n: 0.35 * (-1) ** n), warned=("sheared-slices",),
           silent=("rounded-positions",), expected={"mr": "resampled"}),
    Member("phase images beside magnitude", phase_images, warned=("several-acquisitions",)),
    Member("contours name the first acquisition", drawn_on_the_first, warned=("several-acquisitions",)),
    *(Member(f"contours name frame {number} of single images", naming(ReferencedFrameNumber=number),
             warned=("several-acquisitions",)) for number in ("2", "0", "999999999999", "²²", "abc", "")),
    *(Member(f"contours name '{uid}', which is nowhere", naming(ReferencedSOPInstanceUID=uid),
             warned=("several-acquisitions",)) for uid in ("1.2.3.4", "")),
    Member("contours name frames", drawn_on_frames(by_contours=True), warned=("several-acquisitions",)),
    Member("a structure set lists frames", drawn_on_frames(by_contours=False), warned=("several-acquisitions",)),
    Member("a second echo between the slices", second_echo(1.0), warned=("several-acquisitions",)),
    Member("three phases that nothing tells apart", phases, refused="no attribute distinguishes the acquisitions"),
    Member("a series for each slice", on_series("t1c", own_series), warned=("series-joined",)),
    Member("a series and a number for each slice", on_series("t1c", own_number), warned=("series-joined",)),
    Member("a series and an acquisition for each slice", on_series("t1c", own_acquisition), warned=("series-joined",)),
]  # fmt: skip
