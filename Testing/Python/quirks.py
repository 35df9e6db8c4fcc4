"""Ways in which real exports differ from tidy ones, applied to the DICOM files of a phantom."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from RTResponseCAMLib.dicom.files import decimal, new_file, save

ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"


def edit(path: Path, change) -> None:
    data = pydicom.dcmread(path)
    change(data)
    save(data, path)


def item(**values) -> Dataset:
    data = Dataset()
    for keyword, value in values.items():
        setattr(data, keyword, value)
    return data


def codes(study) -> set[str]:
    return {c.code for c in study.warnings}


def make_enhanced(folder: Path, slope: float = 1.0, shuffled: bool = True, second_echo: bool = False) -> Path:
    """Replace the classic files of a series by one enhanced multi-frame file."""
    files = [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))]
    if shuffled:
        files = [files[n] for n in np.random.default_rng(3).permutation(len(files))]
    first = files[0]
    data = new_file(ENHANCED_MR, generate_uid(entropy_srcs=["enhanced", str(folder.name)]))
    skipped = {"SOPClassUID", "SOPInstanceUID", "PixelData", "ImagePositionPatient", "ImageOrientationPatient",
               "PixelSpacing", "InstanceNumber", "SliceThickness", "RescaleSlope", "RescaleIntercept"}  # fmt: skip
    for element in first:
        if element.keyword not in skipped:
            data[element.tag] = element
    echoes = (3.0, 9.0) if second_echo else (3.0,)
    measures = item(PixelSpacing=first.PixelSpacing, SliceThickness="2.0")
    shared = item(PixelMeasuresSequence=[measures])
    if slope != 1.0:
        values = item(RescaleSlope=decimal(slope), RescaleIntercept="5.0", RescaleType="US")
        shared.PixelValueTransformationSequence = [values]
    shared.PlaneOrientationSequence = [item(ImageOrientationPatient=first.ImageOrientationPatient)]
    data.SharedFunctionalGroupsSequence = [shared]
    frames = []
    pixels = []
    for echo in echoes:
        for file in files:
            groups = item(
                PlanePositionSequence=[item(ImagePositionPatient=file.ImagePositionPatient)],
                FrameContentSequence=[item(StackID="1")],
                MREchoSequence=[item(EffectiveEchoTime=echo)],
            )
            frames.append(groups)
            pixels.append(file.pixel_array if echo == echoes[-1] else file.pixel_array // 2)
    data.PerFrameFunctionalGroupsSequence = frames
    data.NumberOfFrames = len(frames)
    data.PixelData = np.stack(pixels).astype("<u2").tobytes()
    data["PixelData"].VR = "OW"
    for path in folder.glob("*.dcm"):
        path.unlink()
    save(data, folder / "enhanced.dcm")
    return folder / "enhanced.dcm"


def contours_of(data: Dataset) -> list[Dataset]:
    """All contours of a structure set, those of the first ROI first."""
    return [contour for roi in data.ROIContourSequence for contour in roi.get("ContourSequence", ())]


def name_no_images(data: Dataset) -> None:
    """Neither contours nor the structure set itself say on which images they were drawn."""
    for frame in data.ReferencedFrameOfReferenceSequence:
        for study in frame.RTReferencedStudySequence:
            for series in study.RTReferencedSeriesSequence:
                del series.ContourImageSequence
    for contour in contours_of(data):
        if "ContourImageSequence" in contour:
            del contour.ContourImageSequence


def turn(folder: Path, matrix: np.ndarray) -> None:
    """Give every object of a study another place in patient space: positions, axes and contours are moved."""
    move, rotate = matrix[:3, 3], matrix[:3, :3]
    for path in folder.rglob("*.dcm"):

        def change(data):
            if "ImagePositionPatient" in data:
                data.ImagePositionPatient = [
                    decimal(c) for c in rotate @ np.asarray(data.ImagePositionPatient, float) + move
                ]
                axes = np.asarray(data.ImageOrientationPatient, float).reshape(2, 3) @ rotate.T
                data.ImageOrientationPatient = [decimal(c) for c in axes.ravel()]
            for roi in data.get("ROIContourSequence", ()):
                for contour in roi.ContourSequence:
                    points = np.asarray(contour.ContourData, float).reshape(-1, 3) @ rotate.T + move
                    contour.ContourData = [decimal(c) for c in points.ravel()]

        edit(path, change)


def add_roi(data: Dataset, name: str, kind: str, contours: list[np.ndarray]) -> None:
    """Another ROI of a structure set."""
    number = max(int(r.ROINumber) for r in data.StructureSetROISequence) + 1
    frame = data.StructureSetROISequence[0].ReferencedFrameOfReferenceUID
    roi = item(ROINumber=number, ROIName=name, ReferencedFrameOfReferenceUID=frame, ROIGenerationAlgorithm="")
    data.StructureSetROISequence.append(roi)
    sequence = [
        item(
            ContourGeometricType="CLOSED_PLANAR",
            NumberOfContourPoints=len(c),
            ContourData=[decimal(v) for v in c.ravel()],
        )
        for c in contours
    ]
    data.ROIContourSequence.append(item(ReferencedROINumber=number, ContourSequence=sequence))
    data.RTROIObservationsSequence.append(
        item(ObservationNumber=number, ReferencedROINumber=number, RTROIInterpretedType=kind, ROIInterpreter="")
    )


def write_registration(path: Path, source: str, target: str, matrix: np.ndarray, kind: str = "RIGID") -> None:
    """A spatial registration object that maps points of ``source`` into ``target``, of the patient of the folder."""
    first = next((p for p in sorted(path.parent.rglob("*.dcm")) if p != path), None)
    patient = "" if first is None else pydicom.dcmread(first, stop_before_pixels=True, force=True).get("PatientID", "")
    data = new_file("1.2.840.10008.5.1.4.1.1.66.1", generate_uid(entropy_srcs=[source, target, repr(matrix)]))
    data.Modality, data.PatientID, data.SeriesInstanceUID = "REG", patient, generate_uid()
    data.FrameOfReferenceUID = target
    steps = [
        item(
            FrameOfReferenceTransformationMatrixType=kind,
            FrameOfReferenceTransformationMatrix=[decimal(c) for c in np.asarray(matrix, float).ravel()],
        )
    ]
    data.RegistrationSequence = [
        item(FrameOfReferenceUID=target, MatrixRegistrationSequence=[item(MatrixSequence=[item(
            FrameOfReferenceTransformationMatrixType="RIGID",
            FrameOfReferenceTransformationMatrix=[decimal(c) for c in np.eye(4).ravel()])])]),
        item(FrameOfReferenceUID=source, MatrixRegistrationSequence=[item(MatrixSequence=steps)]),
    ]  # fmt: skip
    save(data, path)


def write_segmentation(path: Path, series: list[Path], masks: dict[str, np.ndarray], kind: str = "BINARY") -> None:
    """A DICOM SEG of masks ``[z, y, x]`` (slices in the order of ``series``), only frames that hold something."""
    heads = [pydicom.dcmread(p, stop_before_pixels=True) for p in series]
    first = heads[0]
    data = new_file(
        f"1.2.840.10008.5.1.4.1.1.66.{7 if kind == 'LABELMAP' else 4}", generate_uid(entropy_srcs=["seg", str(path)])
    )
    data.Modality, data.PatientID, data.SeriesInstanceUID = "SEG", first.PatientID, generate_uid()
    data.PatientName = first.PatientName
    data.FrameOfReferenceUID = first.FrameOfReferenceUID
    data.ReferencedSeriesSequence = [item(SeriesInstanceUID=first.SeriesInstanceUID)]
    data.SegmentationType = kind
    if kind == "FRACTIONAL":
        data.MaximumFractionalValue = 200
    data.SegmentSequence = [item(SegmentNumber=n, SegmentLabel=name) for n, name in enumerate(masks, start=1)]
    data.SharedFunctionalGroupsSequence = [
        item(
            PlaneOrientationSequence=[item(ImageOrientationPatient=first.ImageOrientationPatient)],
            PixelMeasuresSequence=[item(PixelSpacing=first.PixelSpacing, SliceThickness="2.0")],
        )
    ]
    step = float(np.linalg.norm(np.subtract(heads[1].ImagePositionPatient, first.ImagePositionPatient)))
    data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness = decimal(step)
    frames, planes = [], []
    labels = sum(number * mask.astype(np.uint8) for number, mask in enumerate(masks.values(), start=1))
    for number, mask in enumerate([labels] if kind == "LABELMAP" else list(masks.values()), start=1):
        for k in np.flatnonzero(mask.any(axis=(1, 2))):
            groups = item(PlanePositionSequence=[item(ImagePositionPatient=heads[k].ImagePositionPatient)])
            if kind != "LABELMAP":
                groups.SegmentIdentificationSequence = [item(ReferencedSegmentNumber=number)]
            frames.append(groups)
            planes.append(mask[k])
    data.PerFrameFunctionalGroupsSequence = frames
    data.NumberOfFrames, data.Rows, data.Columns = len(frames), *planes[0].shape
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    stack = np.stack(planes)
    if kind != "BINARY":
        data.BitsAllocated = data.BitsStored = 8
        data.HighBit = 7
        data.PixelData = (stack * (200 if kind == "FRACTIONAL" else 1)).astype(np.uint8).tobytes()
    else:
        data.BitsAllocated = data.BitsStored = 1
        data.HighBit = 0
        packed = np.packbits(stack.ravel().astype(np.uint8), bitorder="little").tobytes()
        data.PixelData = packed + b"\0" * (len(packed) % 2)
    data["PixelData"].VR = "OB"
    save(data, path)


def second_course(folder: Path, label: str = "second plan", date: str = "20210301", patient: str | None = None) -> None:
    """A copy of the plan with its MR as a later course: every UID is new."""
    target = folder / "later"
    for part in ("t1c", "plan_t1c"):
        shutil.copytree(folder / part, target / part)
    new: dict[str, str] = {}

    def fresh(uid):
        return new.setdefault(str(uid), generate_uid(entropy_srcs=[label, str(uid)]))

    def renew(data):
        for element in data:
            if element.VR == "SQ":
                for part in element.value:
                    renew(part)
            elif element.VR == "UI" and element.keyword.endswith("InstanceUID"):
                element.value = fresh(element.value)
        for keyword in ("RTPlanLabel", "StructureSetLabel"):
            if keyword in data:
                setattr(data, keyword, label)
        for keyword in ("StudyDate", "SeriesDate", "ContentDate", "RTPlanDate", "StructureSetDate"):
            if keyword in data:
                setattr(data, keyword, date)
        if patient and "PatientID" in data:
            data.PatientID = patient

    for path in target.rglob("*.dcm"):

        def change(data):
            renew(data)
            data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID

        edit(path, change)
