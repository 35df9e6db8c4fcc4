"""From a folder to a `Study`: index, choose the chain, read each object, ask for what is missing."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from RTResponseCAMLib.dicom.chain import Chain, choose_chain, find_follow_ups, frames_of
from RTResponseCAMLib.dicom.files import pseudonym, read_header
from RTResponseCAMLib.dicom.index import TAGS, Entry, index_folder
from RTResponseCAMLib.dicom.mr import read_series
from RTResponseCAMLib.dicom.rtdose import read_plan_dose
from RTResponseCAMLib.dicom.rtplan import read_plan
from RTResponseCAMLib.dicom.rtstruct import choose_lesions, read_structures
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.progress import Progress, part, silent
from RTResponseCAMLib.study import Caution, Dose, FollowUp, Plan, Prescription, Study


def load_study(
    folder: Path,
    prescription_gy: float | None = None,
    isodose_percent: float | None = None,
    series: str | None = None,
    rois: tuple[str, ...] = (),
    progress: Progress = silent,
) -> Study:
    """Read a Gamma Knife study.

    Parameters
    ----------
    prescription_gy, isodose_percent : prescription for every target when the plan states none; an isodose
        alone is taken of the dose maximum. Stated by the user, they overrule the plan.
    series : part of the Series Description (or UID) of the planning MR, to overrule the choice.
    rois : names of the ROIs to take as lesions, to overrule the choice.

    Raises
    ------
    StudyError, GeometryError : see the readers; also when there is a dose but no prescription.
    """
    index = index_folder(folder, part(progress, 0.0, 0.3))
    chain = choose_chain(index, series)
    structures, structure_cautions = read_structures(chain.structures.path)
    lesions, lesion_cautions = choose_lesions(chain.structures.path, structures, rois)
    mr = read_series(chain.images, part(progress, 0.3, 0.8))
    progress(0.8, "reading the dose")
    dose, dose_cautions = _read_dose(chain)
    plan, plan_cautions = _read_plan(chain)
    plan = _with_users_prescription(plan, dose, prescription_gy, isodose_percent)
    if dose is not None and (plan is None or plan.prescription is None):
        raise StudyError(
            chain.plan.path if chain.plan else folder,
            "states no prescription (TargetPrescriptionDose), so the dose cannot be related to it",
            "Give --prescription GY or --isodose PERCENT",
        )
    first = chain.images[0]
    progress(1.0, "study read")
    return Study(
        patient=pseudonym(first.text("PatientID"), "P-"),
        mr=mr,
        mr_description=first.text("SeriesDescription"),
        structures=structures,
        lesions=lesions,
        dose=dose,
        plan=plan,
        follow_ups=find_follow_ups(index, chain),
        cautions=index.cautions + chain.cautions + structure_cautions + lesion_cautions + dose_cautions + plan_cautions,
        sources={
            "mr_series": pseudonym(first.text("SeriesInstanceUID")),
            "rtstruct": pseudonym(chain.structures.uid),
            "rtplan": pseudonym(chain.plan.uid) if chain.plan else "",
            "rtdose": " ".join(dose.sources) if dose else "",
        },
    )


def read_follow_up(follow_up: FollowUp, progress: Progress = silent) -> sitk.Image:
    """Read a later MR series; it lies in its own frame of reference, nothing is registered.

    Raises
    ------
    StudyError, GeometryError : see `dicom.mr.read_series`.
    """
    entries = tuple(Entry(Path(file), read_header(Path(file), TAGS)) for file in follow_up.files)
    return read_series(entries, progress)


def _read_dose(chain: Chain) -> tuple[Dose | None, tuple[Caution, ...]]:
    if not chain.doses:
        return None, (Caution("no-dose", "no RTDOSE belongs to this plan; the prediction ignores dose"),)
    frames = frames_of(chain.images[0])
    for entry in chain.doses:
        if frames and frames_of(entry) and not frames & frames_of(entry):
            raise StudyError(
                entry.path,
                "lies in another frame of reference (0020,0052) than the planning MR",
                "Export dose and MR from the same plan, or remove the dose from the folder",
            )
    return read_plan_dose(tuple(entry.path for entry in chain.doses))


def _read_plan(chain: Chain) -> tuple[Plan | None, tuple[Caution, ...]]:
    if chain.plan is None:
        return None, ()
    try:
        return read_plan(chain.plan.path), ()
    except StudyError as error:
        # The plan serves for its prescription only: a damaged one must not keep dose and targets from view.
        return None, (Caution("unreadable-plan", f"{chain.plan.path.name} {error.what}; it is left out"),)


def _with_users_prescription(
    plan: Plan | None, dose: Dose | None, prescription_gy: float | None, isodose_percent: float | None
) -> Plan | None:
    for name, value, top in (
        ("--prescription", prescription_gy, 200.0),
        ("--isodose", isodose_percent, 100.0),
    ):
        if value is not None and not 0 < value <= top:
            raise StudyError(name, f"is {value}, expected more than 0 and at most {top:g}", "Correct the value")
    if prescription_gy is None and isodose_percent is not None and dose is not None:
        peak = float(sitk.GetArrayViewFromImage(dose.image).max())
        prescription_gy = peak * isodose_percent / 100
    if prescription_gy is None:
        return plan
    stated = plan.prescription if plan else None
    fractions = stated.fractions if stated else None
    given = Prescription(prescription_gy, isodose_percent, fractions, {}, source="user")
    return Plan(plan.label if plan else "", given)
