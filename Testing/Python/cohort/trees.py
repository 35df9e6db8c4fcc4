"""Small trees with exactly the layout, names, label values, headers and traps of the public data sets."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from openpyxl import Workbook

SHAPE = (44, 46, 48)


def ball(radius, center):
    k, j, i = np.indices(SHAPE)
    return (k - center[0]) ** 2 + (j - center[1]) ** 2 + (i - center[2]) ** 2 <= radius**2


def write(path: Path, array, spacing=(1.0, 1.0, 1.0)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(spacing)
    image.SetOrigin((-20.0, -30.0, 10.0))
    sitk.WriteImage(image, str(path), useCompression=True)
    return path


def head(whose="nobody"):
    rng = np.random.default_rng(zlib.crc32(str(whose).encode()))  # no two people have one scan
    return (300 + 20 * rng.standard_normal(SHAPE) + 300 * ball(20, (22, 23, 24))).astype(np.int16)


def workbook(path: Path, sheets: dict[str, list[list]]) -> None:
    book = Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)


def tumor(radius, center, necrosis=0.0):
    """Labels 1 necrosis, 2 enhancing, 3 edema around."""
    labels = np.where(ball(radius + 3, center), 3, 0)
    labels[ball(radius, center)] = 2
    if necrosis:
        labels[ball(necrosis, center)] = 1
    return labels


A, B = (14, 14, 14), (28, 30, 32)


def joined(*parts):
    labels = np.zeros(SHAPE, np.int16)
    for part in parts:
        labels = np.where(np.isin(part, (1, 2)), part, np.where(labels > 0, labels, part))
    return labels.astype(np.int16)


def proteas(root: Path) -> Path:
    dose = np.full(SHAPE, np.nan, np.float32)
    dose[5:40, 5:40, 5:42] = 10.0
    dose[ball(4, A)] = 23.0
    plans = {
        # folder: (follow-up masks, spelling of the mask folder)
        "P01": ({"baseline": joined(tumor(6, A, 2), tumor(5, B)), "fu1": joined(tumor(6, A), tumor(5, B)),
                 "fu2": joined(tumor(4, A), tumor(5.2, B))}, "tumor_segmentation"),
        "P04a": ({"baseline": joined(tumor(5, A)), "fu2": np.where(joined(tumor(5, A)) == 3, 3, 0)},
                 "tumor segmentation"),
        "P04b": ({"baseline": joined(tumor(5, B))}, "tumor_segmentation"),  # no follow-up mask at all
        "P33": ({"baseline": joined(tumor(5, B)), "fu2": joined(tumor(5, B))}, "tumor_segmentation"),
    }  # fmt: skip
    for number, (name, (masks, spelling)) in enumerate(plans.items()):
        folder = root / name
        for point in ("baseline", "fu1", "fu2"):
            write(folder / "BraTS" / point / "t1c.nii.gz", head(number))
        write(folder / f"{name}_RTP.nii.gz", dose if name != "P33" else dose * 35 / 23 * 1.2)
        for point, mask in masks.items():
            write(folder / spelling / f"{name}_tumor_mask_{point}.nii.gz", mask.astype(np.uint8))
        for date in ("2020-01-07", "2020-02-20", "2020_04-10") if name != "P04b" else ("2020-01-07",):
            (folder / "DICOM" / f"T1C_{date}").mkdir(parents=True)
            (folder / "DICOM" / f"T2W_{date}").mkdir(parents=True)
    headers = ["Patient ID (Zenodo)", "Age", "Rx dose at tumor margins", "Fractions"]
    rows = [["P01 ", 60, "20 Gy ", 1], ["P04a", 61, "20 Gy", 1], ["P04b", 61, "20 Gy", 1], ["P33a", 50, "5 Gy", 7]]
    workbook(root / "PROTEAS-Clinical_and_demographic_data.xlsx", {"PROTEAS": [headers, *rows]})
    return root


LESION_HEADERS = [
    "No.", "unique_pt_id", "Treatment Course", "Lesion #", "Lesion Location", "mri_type",
    "duration_tx_to_imag (months)", "Fractions", "Lesion Name in NRRD files",
]  # fmt: skip


def brain_tr_gk(root: Path) -> Path:
    base = root / "Brain-TR-GammaKnife-processed"
    for name, lesions in {
        "GK.103_1": ["LR atrium", "L_LtFrontal"],
        "GK.270_3": ["L_RtOccipital11302018"],
        "GK.463_1": ["LLt Frontal+Cavity"],
    }.items():
        write(base / name / f"{name}_MR_t1.nrrd", head(name))
        write(base / name / f"{name}_dose.nrrd", np.where(ball(6, A), 40.0, 5.0).astype(np.float32))
        write(base / name / f"{name}_L_Skull.nrrd", ball(20, (22, 23, 24)).astype(np.uint8))
        for number, lesion in enumerate(lesions):
            write(base / name / f"{name}_{lesion}.nrrd", ball(5 - number, (A, B)[number]).astype(np.uint8))
    rows = [
        [1, 103, 1, 1, "R atrium", "stable", 4.2, 1, "GK.103_1_LR Atrium"],
        [2, 103, 1, 2, "Lt frontal", "recurrence", 12.0, 1, "gk.103_1_L_LtFrontal.nrrd"],
        [3, 270, 3, 1, "Rt occipital", "stable ", 3.0, 5, "GK.270_3_L_RtOccipital"],
        [4, 999, 1, 1, "Cerebellum", "stable", 2.0, 1, "GK.999_1_L_Cerebellum"],
    ]
    workbook(root / "Brain-TR-GammaKnife-Clinical-Information.xlsx",
             {"course_level": [["unique_pt_id"]], "lesion_level": [LESION_HEADERS, *rows]})  # fmt: skip
    return root


def brain_tr_gk_dicom(root: Path, export: Path) -> Path:
    """Two courses of one subject, named as the archive names them; the export is a phantom's."""
    subject = root / "manifest-1678464337678" / "Brain-TR-GammaKnife" / "GK_103"
    for date in ("04-18-2014", "01-05-2013"):
        target = subject / f"{date}-NA-MR GAMMA KNIFE PLANNING BRAIN-49648"
        shutil.copytree(export / "t1c", target / "4.000000-t1mprtraiso-40897")
        shutil.copytree(export / "plan_t1c", target / "28641.000000-Comp Dose-71122")
    rows = [[n, "GK_103", 2, n, f"gtv-{n}", "stable", 3.0, 1, ""] for n in (1, 2, 3)]
    workbook(root / "Brain_TR_GammaKnife_Clinical_Information.xlsx", {"lesion_level": [LESION_HEADERS, *rows]})
    return root


def ucsf_bmsr(root: Path) -> Path:
    base = root / "UCSF_BrainMetastases_v1.3" / "UCSF_BrainMetastases_TRAIN"
    for name, tail in (("100101A", "seg"), ("100101B", "seg"), ("100202A", "SEG")):
        write(base / name / f"{name}_T1post.nii.gz", head(name))
        write(base / name / f"{name}_{tail}.nii.gz", (ball(5, A) | ball(4, B)).astype(np.uint8))
        write(base / name / f"{name}_BraTS-seg.nii.gz", (3 * ball(6, A)).astype(np.uint8))
    (base / "100363B").mkdir()
    return root


def openbtai(root: Path) -> Path:
    def put(patient, date, labels):
        folder = root / patient / patient / "NIFTI"
        write(folder / f"{patient}_{date}_img.nii", head(f"{patient} {date}"), (0.9, 0.9, 1.2))
        write(folder / f"{patient}_{date}_msk.nii", labels.astype(np.int16), (0.9, 0.9, 1.2))

    def labels(first, second):
        found = np.where(ball(first, A), 11, 0) + np.where(ball(second, B), 21, 0)
        return np.where(ball(2, A), 12, found)

    put("010005", "19010618", labels(6, 5))  # day 1
    put("010005", "19010916", labels(4, 5))  # day 91
    put("010005", "19020101", labels(4, 0))
    put("010006", "19010618", labels(5, 4))
    rows = [[None] * 45 for _ in range(15)]
    for patient, lesion, begin in ((10005, 1, 2), (10005, 2, 1), (10006, 1, None)):
        row = [None] * 45
        row[0], row[4], row[31], row[32], row[33] = str(patient).zfill(6), lesion, "20", 1, begin or "n/a"
        rows.append(row)
    rows += [[None] * 45, ["Times are displayed in days since MR1"]]
    workbook(root / "OpenBTAI_METS_ClinicalData_Nov2023.xlsx", {"Hoja1": rows})
    return root


def vs_seg(root: Path, export: Path) -> Path:
    base = root / "manifest-1" / "Vestibular-Schwannoma-SEG"
    for number, name in enumerate(("VS-SEG-001", "VS-SEG-002")):
        target = base / name / "study-1"
        images = Path(shutil.copytree(export / "t1c", target / "1.000000-t1_mprage-1"))
        slice_ = pydicom.dcmread(sorted(images.iterdir())[0])
        slice_.PixelData = bytes([number]) + slice_.PixelData[1:]  # no two people have one scan
        slice_.save_as(slice_.filename)
        shutil.copytree(export / "plan_t1c", target / f"{number}.000000-RT-2")
    return root


def plain(root: Path) -> Path:
    write(root / "one" / "t1c.nrrd", head("one"))
    write(root / "one" / "mask.nrrd", (ball(6, A) | ball(4, B)).astype(np.uint8))
    write(root / "one" / "follow_up_88_mask.nii.gz", (ball(4, A) | ball(4, B)).astype(np.uint8))
    write(root / "one" / "follow_up_300_mask.nii.gz", ball(8, A).astype(np.uint8))
    write(root / "two" / "1" / "t1c.nii.gz", head("two"))
    write(root / "two" / "1" / "mask.nii.gz", (1 * ball(6, A) + 2 * ball(4, B)).astype(np.uint8))
    write(root / "two" / "1" / "dose.nii.gz", np.where(ball(6, A), 40.0, 5.0).astype(np.float32))
    (root / "prescriptions.csv").write_text("patient,course,rx_gy,fractions\ntwo,1,20,1\n")
    return root
