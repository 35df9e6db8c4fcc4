"""Real files that no one here wrote: a result with honest warnings or a clear error, never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from RTResponseCAMLib.cli import BAD_INPUT, DONE, main
from RTResponseCAMLib.dicom.files import read_header
from RTResponseCAMLib.dicom.index import TAGS, Entry
from RTResponseCAMLib.dicom.load import load_study
from RTResponseCAMLib.dicom.pixels import stored_frames
from RTResponseCAMLib.dicom.rtdose import read_plan_dose
from RTResponseCAMLib.dicom.rtstruct import read_structures
from RTResponseCAMLib.dicom.seg import read_segments
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.imaging.fraction import mask
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.study import Structure

pytestmark = pytest.mark.samples


def test_a_real_mr_rtstruct_gives_the_collections_own_mask(samples: Path):
    folder = samples / "ibsi_sts_mr_rtstruct" / "STS_002"
    study = load_study(folder)
    theirs = sitk.ReadImage(str(folder / "MR_T1_mask.nii.gz"))
    ours = Grid.of(study.mr).image(mask(study.lesions[0].structure, Grid.of(study.mr)).astype(np.uint8))
    moved = sitk.Resample(ours, theirs, sitk.Transform(), sitk.sitkNearestNeighbor)
    a, b = sitk.GetArrayFromImage(moved) > 0, sitk.GetArrayFromImage(theirs) > 0
    assert 2 * (a & b).sum() / (a.sum() + b.sum()) == pytest.approx(1.0, abs=5e-4)


def test_an_oblique_mr_has_the_right_volume(samples: Path):
    study = load_study(samples / "tcia_sts001_mr_t2", rois=("GTV_Mass",))
    assert contour_volume_cc(study.lesions[0].structure) == pytest.approx(365, rel=0.02)


@pytest.mark.parametrize(
    "name",
    ["ibsi_sts_mr_rtstruct/STS_002", "tcia_sts001_mr_t2", "dicompyler_core", "pydicom_test_files", "highdicom_seg"],
)
@pytest.mark.slow
def test_every_sample_gives_a_result_or_a_clear_error(samples: Path, tmp_path, capsys, name):
    out = tmp_path / "out"
    code = main(["--quiet", "predict", str(samples / name), "--out", str(out), "--no-scene"])
    errors = capsys.readouterr().err
    assert code in (DONE, BAD_INPUT), errors
    if code == DONE:
        warnings = {c["code"] for c in json.loads((out / "result.json").read_text())["warnings"]}
        assert {"no-dose", "model"} <= warnings
    else:
        assert errors.startswith("error: ")
        assert errors.count("\n") == 1
        assert not out.exists()


@pytest.mark.parametrize("name", ["rtdose.dcm", "rtdose_expb.dcm", "rtdose_rle.dcm"])
def test_real_doses_are_the_stored_values_times_their_scaling(samples: Path, tmp_path, name):
    """The files say RELATIVE; a copy that says GY is read for its numbers, bytes and encoding untouched."""
    path = tmp_path / name
    content = (samples / "pydicom_test_files" / name).read_bytes()
    assert content.count(b"RELATIVE") == 1
    path.write_bytes(content.replace(b"RELATIVE", b"GY      "))
    data = pydicom.dcmread(path)
    dose, _ = read_plan_dose((path,), dose_fractions=1)
    expected = data.pixel_array.astype(np.float64) * float(data.DoseGridScaling)
    offsets = np.asarray(data.GridFrameOffsetVector, float)
    np.testing.assert_allclose(sitk.GetArrayFromImage(dose.image), expected[np.argsort(offsets)], rtol=1e-5)


def test_a_relative_dose_is_refused(samples: Path):
    with pytest.raises(StudyError, match="DoseUnits"):
        read_plan_dose((samples / "pydicom_test_files" / "rtdose_1frame.dcm",))


@pytest.mark.parametrize("patient", ["sub-001", "sub-005", "sub-032"])
def test_real_gammaplan_contours_keep_their_volume_on_any_grid(samples: Path, patient):
    """Contours of real plans, some tilted against the planning slices: occupancy equals polygon area × slab."""
    from RTResponseCAMLib.imaging.fraction import box_fraction, structure_box

    content = json.loads((samples / "gammaplan_contours" / f"{patient}_contours_T1w.json").read_text())
    seen = 0
    for number, roi in enumerate(content, start=1):
        rings = roi.get("LPS_contour_points") or roi.get("contours") or []
        contours = tuple(np.asarray(ring, dtype=float) for ring in rings if len(ring) > 3)
        if not contours:
            continue
        structure = Structure(number, str(roi.get("structure_name", number)), "", contours)
        x, y, z = np.concatenate(contours).mean(axis=0).tolist()
        box = structure_box(structure, Grid((1, 1, 1), (1.0, 1.0, 1.0), (x + 0.3, y - 0.2, z + 0.4)))
        found = float(box_fraction(structure, box).sum(dtype=np.float64)) * box.voxel_cc
        assert found == pytest.approx(contour_volume_cc(structure), rel=0.005), structure.name
        seen += 1
    assert seen >= 2


def test_a_real_structure_set_lists_its_rois_and_the_empty_one(samples: Path):
    structures, _ = read_structures(samples / "dicompyler_core" / "rtss.dcm")
    assert len(structures) == 10
    assert [s.name for s in structures if not s.contours] == ["Areola"]
    assert {"Heart", "Lt Lung", "Tumor Bed"} <= {s.name for s in structures}


def test_points_of_a_real_structure_set_have_no_volume(samples: Path):
    structures, warnings = read_structures(samples / "pydicom_test_files" / "rtstruct.dcm")
    assert [(s.name, bool(s.contours)) for s in structures] == [
        ("patient", True), ("Isocenter 1", False), ("Isocenter 2", False),
    ]  # fmt: skip
    assert [c.code for c in warnings] == ["points-only", "points-only"]


@pytest.mark.parametrize(
    "name", ["MR_small_RLE", "MR_small_expb", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless"]
)
def test_one_mr_in_five_transfer_syntaxes_has_the_same_pixels(samples: Path, name):
    folder = samples / "pydicom_test_files"
    one, other = (folder / f"{n}.dcm" for n in ("MR_small", name))
    np.testing.assert_array_equal(
        stored_frames(other, read_header(other)), stored_frames(one, read_header(one)).astype(np.int64)
    )


@pytest.mark.parametrize("name", ["emri_small_RLE", "emri_small_big_endian", "emri_small_jpeg_2k_lossless"])
def test_an_enhanced_mr_in_four_transfer_syntaxes_has_the_same_pixels(samples: Path, name):
    folder = samples / "pydicom_test_files"
    one, other = (folder / f"{n}.dcm" for n in ("emri_small", name))
    found = stored_frames(other, read_header(other))
    assert found.shape == (10, 64, 64)
    np.testing.assert_array_equal(found, stored_frames(one, read_header(one)).astype(np.int64))


@pytest.mark.parametrize(
    "name", ["binary", "binary_overlap", "binary_single_frame", "binary_fractional", "true_fractional"]
)
def test_real_segmentations_keep_the_volume_of_their_voxels(samples: Path, name):
    path = samples / "highdicom_seg" / f"seg_image_ct_{name}.dcm"
    structures, warnings = read_segments(Entry(path, read_header(path, TAGS)))
    data = pydicom.dcmread(path)
    cut = 0.5 * data.get("MaximumFractionalValue", 1)
    measures = data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    positions = sorted({float(f.PlanePositionSequence[0].ImagePositionPatient[2]) for f in
                        data.PerFrameFunctionalGroupsSequence})  # fmt: skip
    step = np.diff(positions).min() if len(positions) > 1 else float(measures.SliceThickness)
    voxel = float(np.prod(np.asarray(measures.PixelSpacing, float))) * step / 1000
    counts = {s.number: 0 for s in structures}
    frames = data.pixel_array.reshape(-1, data.Rows, data.Columns)
    for groups, frame in zip(data.PerFrameFunctionalGroupsSequence, frames, strict=True):
        counts[groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber] += int((frame >= cut).sum())
    for structure in structures:
        assert contour_volume_cc(structure) == pytest.approx(counts[structure.number] * voxel, rel=1e-3)
    assert bool(warnings) == ("fractional" in name)


def test_damaged_samples_are_named(samples: Path):
    folder = samples / "pydicom_test_files"
    for name, message in (
        ("MR_truncated.dcm", "bytes of pixels"),
        ("image_dfl.dcm", "is deflated"),
        ("rtplan_truncated.dcm", "cut short"),
    ):  # fmt: skip
        path = folder / name
        with pytest.raises(StudyError, match=message):
            stored_frames(path, read_header(path))
