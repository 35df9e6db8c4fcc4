"""Write a synthetic patient as files: DICOM objects like an export of GammaPlan, and the ground truth.

MR only, one FrameOfReferenceUID for everything in the frame, RTDOSE on a separate grid, references RTDOSE → RTPLAN →
RTSTRUCT → MR, one copy of the plan per MR series. UIDs follow from the seed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage, RTDoseStorage, RTPlanStorage, RTStructureSetStorage, generate_uid

from RTResponseCAMLib.dicom.files import decimal, new_file, save
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.rigid import as_matrix, as_transform
from RTResponseCAMLib.phantom.patient import (
    Patient,
    contour_structures,
    label_maps,
    planning_grid,
    render_dose,
    render_mr,
    second_grid,
)
from RTResponseCAMLib.phantom.scanner import SEQUENCES, Scanner
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.study import Structure

PLAN_DATE = "20200110"
MID_DAYS = 30
GAMMAPLAN_DOSE_SCALING = 3.75e-4
MOMENTS = {"MID": " during treatment", "FU": " follow-up"}  # in the description of a series
LATER_FIELDS = {"family": "coarse", "scanner": "ideal", "head": "", "brain_only": False}


@dataclass(frozen=True)
class Names:
    """Identity of a synthetic patient in DICOM; ``uid(key)`` is the same for the same patient and key."""

    patient_id: str
    entropy: str

    def uid(self, key: str) -> str:
        """Deterministic UID for one object."""
        return str(generate_uid(entropy_srcs=[self.entropy, key]))


def names_of(patient: Patient) -> Names:
    """DICOM identity of a patient, determined by its specification."""
    spec = patient.spec
    # Fields that came later count only where they are set: UIDs of the first phantom stay what they were.
    settings = [(f.name, getattr(spec, f.name)) for f in fields(spec)]
    # A real head counts by its content: another file of the same name is another person.
    checksum = "" if patient.head is None else patient.head.checksum
    later = [(n, checksum if n == "head" else v) for n, v in settings if n in LATER_FIELDS]
    first = ", ".join(f"{name}={value!r}" for name, value in settings if name not in LATER_FIELDS)
    added = "".join(f", {name}={value!r}" for name, value in later if value != LATER_FIELDS[name])
    return Names(f"PHANTOM-{spec.seed}-{spec.patient:04d}", f"PhantomSpec({first}{added})")


def write_patient(patient: Patient, folder: Path, *, progress: Progress = no_progress, truth: bool = True) -> None:
    """Write ``folder/dicom/…`` and, unless ``truth`` is False, ``folder/truth/…``."""
    names, spec = names_of(patient), patient.spec
    grid = planning_grid(patient)
    progress(0.0, "planning MR")
    mr = render_mr(patient, grid)
    uids = write_mr(
        folder / "dicom/t1c",
        mr,
        names=names,
        series="T1c",
        date=PLAN_DATE,
        scanner=patient.scanner,
        progress=subprogress(progress, 0.2, 0.4),
    )
    progress(0.4, "dose")
    groups: list[tuple[int, ...]] = [(n,) for n in range(len(patient.lesions))]
    if spec.dose_files == "one":
        groups = [tuple(range(len(patient.lesions)))]
    doses = [render_dose(patient, group) for group in groups]
    _write_plan(patient, folder / "dicom/plan_t1c", names, "T1c", grid, uids, doses)
    if spec.second_series:
        progress(0.5, "T2 series")
        t2_grid = second_grid(patient)
        t2 = write_mr(
            folder / "dicom/t2", render_mr(patient, t2_grid, t2=True), names=names, series="T2", date=PLAN_DATE
        )
        _write_plan(patient, folder / "dicom/plan_t2", names, "T2", t2_grid, t2, doses)
    if spec.mid_treatment:
        progress(0.55, "MR during treatment")
        mid_treatment = render_mr(patient, grid, days=MID_DAYS)
        date = str(np.datetime64("2020-01-10") + np.timedelta64(MID_DAYS, "D")).replace("-", "")
        write_mr(
            folder / "dicom/mid_treatment", mid_treatment, names=names, series="MID", date=date, scanner=patient.scanner
        )
    if spec.follow_up:
        progress(0.6, "follow-up MR")
        day = np.datetime64("2020-01-10") + np.timedelta64(patient.days, "D")
        follow_up = render_mr(patient, grid, follow_up=True)
        date = str(day).replace("-", "")
        write_mr(
            folder / "dicom/follow_up",
            follow_up,
            names=names,
            series="FU",
            date=date,
            scanner=patient.scanner,
            progress=subprogress(progress, 0.7, 0.9),
        )
    if truth:
        progress(0.9, "truth")
        write_truth(patient, grid, folder=folder / "truth")
    progress(1.0)


def write_truth(patient: Patient, grid: Grid, *, folder: Path) -> None:
    """Write label maps on the planning MR grid, ``truth.json``, and the transform from planning to follow-up."""
    folder.mkdir(parents=True, exist_ok=True)
    for moment in ("planning", "follow_up") if patient.spec.follow_up else ("planning",):
        lesion_map, resistant_map = label_maps(patient, grid, follow_up=moment == "follow_up")
        sitk.WriteImage(lesion_map, str(folder / f"lesions_{moment}.nrrd"), useCompression=True)
        sitk.WriteImage(resistant_map, str(folder / f"resistant_{moment}.nrrd"), useCompression=True)
    to_follow_up = sitk.CompositeTransform([patient.follow_up_to_head.GetInverse(), patient.to_head])
    sitk.WriteTransform(as_transform(as_matrix(to_follow_up)), str(folder / "planning_to_follow_up.tfm"))
    truth = {
        "note": "Synthetic. Label 1 = non-response (did not shrink by more than 20 %).",
        "seed": patient.spec.seed,
        "patient": patient.spec.patient,
        "variant": patient.spec.variant.value,
        "family": patient.spec.family,
        "scanner": _scanner_name(patient),
        "days_to_follow_up": patient.days,
        "lesions": [
            {
                "name": lesion.name,
                "variant": lesion.variant.value,
                "number": lesion_number,
                "volume_cc": round(lesion.volume_cc, 5),
                "resistant_fraction": round(lesion.resistant_fraction, 5),
                "follow_up_volume_cc": round(lesion.later().volume_cc, 5),
                "volume_ratio": round(lesion.volume_ratio, 5),
                "label": int(lesion.non_response),
                "prescription_gy": target.prescription_gy,
                "isodose_percent": round(target.isodose_percent, 2),
            }
            for lesion_number, (lesion, target) in enumerate(
                zip(patient.lesions, patient.targets, strict=True), start=1
            )
        ],
    }
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")


def _scanner_name(patient: Patient) -> str:
    if patient.head is not None:
        return "that of the real head"
    return "ideal" if patient.scanner is None else patient.scanner.name


def write_mr(
    folder: Path,
    image: sitk.Image,
    *,
    names: Names,
    series: str,
    date: str,
    scanner: Scanner | None = None,
    progress: Progress = no_progress,
) -> list[str]:
    """Write one MR series, one file per slice; return the SOP instance UIDs in slice order."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = SEQUENCES["mprage" if scanner is None else scanner.sequence]
    if series == "T2":
        kind = (*kind[:4], "90", "3200")
    grid = Grid.of(image)
    pixels = sitk.GetArrayViewFromImage(image)
    axes = np.asarray(grid.direction).reshape(3, 3)
    positions = grid.to_lps(np.asarray([(0, 0, k) for k in range(grid.size[2])]))
    uids = []
    for k, position in enumerate(positions):
        uid = names.uid(f"{series}/slice/{k}")
        data = new_file(MRImageStorage, uid)
        _identify(data, names, "MR", series, date)
        data.SeriesDescription = "T2 SPACE" if series == "T2" else f"{kind[0]} +C{MOMENTS.get(series, '')}"
        data.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        data.ScanningSequence, data.SequenceVariant, data.MRAcquisitionType = kind[1:4]
        data.ScanOptions = ""
        data.EchoTime, data.RepetitionTime = kind[4:]
        if scanner is not None:
            data.MagneticFieldStrength = decimal(scanner.field_tesla)
        if series != "T2":
            data.ContrastBolusAgent = "Gadolinium (synthetic)"
        data.FrameOfReferenceUID = names.uid(
            {"FU": "follow-up frame", "MID": "mid-treatment frame"}.get(series, "frame")
        )
        data.PositionReferenceIndicator = ""
        data.InstanceNumber = k + 1
        data.ImagePositionPatient = [decimal(c) for c in position]
        data.ImageOrientationPatient = [decimal(c) for c in (*axes[:, 0], *axes[:, 1])]
        data.SliceThickness = decimal(grid.spacing_mm[2])
        data.PixelSpacing = [decimal(grid.spacing_mm[1]), decimal(grid.spacing_mm[0])]
        _pixels(data, pixels[k], 16)
        save(data, folder / f"MR.{k + 1:04d}.dcm")
        uids.append(uid)
        progress((k + 1) / grid.size[2])
    return uids


def _write_plan(
    patient: Patient,
    folder: Path,
    names: Names,
    series: str,
    grid: Grid,
    slices: list[str],
    doses: list[sitk.Image],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    structures = contour_structures(patient, grid)
    save(_rtstruct(names, series, structures, grid, slices), folder / "RS.dcm")
    if patient.spec.rtplan:
        save(_rtplan(patient, names, series, structures), folder / "RP.dcm")
    for dose_number, dose in enumerate(doses, start=1):
        name = "RD.dcm" if len(doses) == 1 else f"RD.{dose_number}.dcm"
        save(_rtdose(names, series, dose_number, dose, patient.spec.rtplan), folder / name)


def _rtstruct(names: Names, series: str, structures: tuple[Structure, ...], grid: Grid, slices: list[str]) -> Dataset:
    data = new_file(RTStructureSetStorage, names.uid(f"{series}/RS"))
    _identify(data, names, "RTSTRUCT", f"{series}/RS", PLAN_DATE)
    data.StructureSetLabel, data.StructureSetDate, data.StructureSetTime = "GammaPlan", PLAN_DATE, "120000"
    referenced = Dataset()
    referenced.SeriesInstanceUID = names.uid(f"{series}/series")
    referenced.ContourImageSequence = [_reference(MRImageStorage, uid) for uid in slices]
    study = _reference("1.2.840.10008.3.1.2.3.1", names.uid("study"))
    study.RTReferencedSeriesSequence = [referenced]
    frame = Dataset()
    frame.FrameOfReferenceUID = names.uid("frame")
    frame.RTReferencedStudySequence = [study]
    data.ReferencedFrameOfReferenceSequence = [frame]
    data.StructureSetROISequence, data.ROIContourSequence, data.RTROIObservationsSequence = [], [], []
    for structure in structures:
        roi = Dataset()
        roi.ROINumber, roi.ROIName = structure.number, structure.name
        roi.ReferencedFrameOfReferenceUID = names.uid("frame")
        roi.ROIGenerationAlgorithm = "MANUAL"
        data.StructureSetROISequence.append(roi)
        item = Dataset()
        item.ROIDisplayColor = list(structure.color)
        item.ReferencedROINumber = structure.number
        item.ContourSequence = []
        for contour in structure.contours:
            contour_item = Dataset()
            k = round(float(grid.to_index(contour[:1])[0, 2]))
            if 0 <= k < len(slices):
                contour_item.ContourImageSequence = [_reference(MRImageStorage, slices[k])]
            contour_item.ContourGeometricType = "CLOSED_PLANAR"
            contour_item.NumberOfContourPoints = len(contour)
            contour_item.ContourData = [decimal(float(c)) for c in contour.ravel()]
            item.ContourSequence.append(contour_item)
        data.ROIContourSequence.append(item)
        observation = Dataset()
        observation.ObservationNumber = observation.ReferencedROINumber = structure.number
        observation.RTROIInterpretedType, observation.ROIInterpreter = structure.kind, ""
        data.RTROIObservationsSequence.append(observation)
    data.ApprovalStatus = "UNAPPROVED"
    return data


def _rtplan(patient: Patient, names: Names, series: str, structures: tuple[Structure, ...]) -> Dataset:
    data = new_file(RTPlanStorage, names.uid(f"{series}/RP"))
    _identify(data, names, "RTPLAN", f"{series}/RP", PLAN_DATE)
    data.FrameOfReferenceUID, data.PositionReferenceIndicator = names.uid("frame"), ""
    data.RTPlanLabel, data.RTPlanDate, data.RTPlanTime = "GK plan", PLAN_DATE, "120000"
    data.RTPlanGeometry = "PATIENT"
    data.DoseReferenceSequence = []
    for target_number, (structure, target) in enumerate(zip(structures, patient.targets, strict=False), start=1):
        item = Dataset()
        item.DoseReferenceNumber, item.ReferencedROINumber = target_number, structure.number
        item.DoseReferenceStructureType, item.DoseReferenceType = "VOLUME", "TARGET"
        item.DoseReferenceDescription = f"{target.isodose_percent:.0f} % isodose"
        item.TargetPrescriptionDose = decimal(target.prescription_gy)
        data.DoseReferenceSequence.append(item)
    group = Dataset()
    group.FractionGroupNumber, group.NumberOfFractionsPlanned = 1, 1
    group.NumberOfBeams = group.NumberOfBrachyApplicationSetups = 0
    data.FractionGroupSequence = [group]
    data.ReferencedStructureSetSequence = [_reference(RTStructureSetStorage, names.uid(f"{series}/RS"))]
    data.ApprovalStatus = "UNAPPROVED"
    return data


def _rtdose(names: Names, series: str, number: int, dose: sitk.Image, with_plan: bool) -> Dataset:
    data = new_file(RTDoseStorage, names.uid(f"{series}/RD/{number}"))
    _identify(data, names, "RTDOSE", f"{series}/RD", PLAN_DATE)
    grid, values = Grid.of(dose), sitk.GetArrayViewFromImage(dose)
    # 16 bits store up to 24.6 Gy at GammaPlan's usual scaling; higher doses need a coarser scaling.
    scaling = float(decimal(max(GAMMAPLAN_DOSE_SCALING, float(values.max()) / 65530)))
    data.FrameOfReferenceUID, data.PositionReferenceIndicator = names.uid("frame"), ""
    data.InstanceNumber = number
    data.ImagePositionPatient = [decimal(c) for c in grid.origin_mm]
    data.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    data.PixelSpacing = [decimal(grid.spacing_mm[1]), decimal(grid.spacing_mm[0])]
    data.SliceThickness = ""
    data.NumberOfFrames = grid.size[2]
    data.FrameIncrementPointer = 0x3004000C
    data.GridFrameOffsetVector = [decimal(k * grid.spacing_mm[2]) for k in range(grid.size[2])]
    data.DoseUnits, data.DoseType, data.DoseSummationType = "GY", "PHYSICAL", "PLAN"
    data.DoseGridScaling = decimal(scaling)
    if with_plan:
        data.ReferencedRTPlanSequence = [_reference(RTPlanStorage, names.uid(f"{series}/RP"))]
    else:
        data.ReferencedStructureSetSequence = [_reference(RTStructureSetStorage, names.uid(f"{series}/RS"))]
    _pixels(data, np.rint(values / scaling).astype(np.uint16), 16)
    return data


def _identify(data: Dataset, names: Names, modality: str, series: str, date: str) -> None:
    data.SpecificCharacterSet = "ISO_IR 192"
    data.Modality = modality
    data.Manufacturer = "RTResponseCAM phantom (synthetic)"
    data.ManufacturerModelName = "phantom"
    data.PatientName, data.PatientID = f"{names.patient_id}^Synthetic", names.patient_id
    data.PatientBirthDate, data.PatientSex = "", "O"
    study_key, study_number = {"FU": ("follow-up study", "2"), "MID": ("mid-treatment study", "3")}.get(
        series, ("study", "1")
    )
    data.StudyInstanceUID = names.uid(study_key)
    data.SeriesInstanceUID = names.uid(f"{series}/series")
    data.StudyID, data.SeriesNumber = study_number, 1
    data.StudyDate = data.SeriesDate = data.ContentDate = date
    data.StudyTime = data.ContentTime = "120000"
    data.AccessionNumber = data.ReferringPhysicianName = ""


def _reference(sop_class: str, uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
    return item


def _pixels(data: Dataset, values: np.ndarray[tuple[int, ...], np.dtype[np.uint16]], bits: int) -> None:
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = values.shape[-2:]
    data.BitsAllocated = data.BitsStored = bits
    data.HighBit, data.PixelRepresentation = bits - 1, 0
    data.PixelData = np.ascontiguousarray(values, dtype="<u2").tobytes()
