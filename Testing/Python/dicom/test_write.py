"""What is exported comes back: by our own reader, by others, and past a validator."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from peers import dicom_errors, plastimatch
from quirks import edit, make_enhanced, turn
from test_quirks import rotation

from RTResponseCAMLib.dicom.files import read_header, save
from RTResponseCAMLib.dicom.index import TAGS, Entry
from RTResponseCAMLib.dicom.load import load_study
from RTResponseCAMLib.dicom.rtstruct import read_structures
from RTResponseCAMLib.dicom.seg import read_segments
from RTResponseCAMLib.dicom.source_series import find_source_series
from RTResponseCAMLib.dicom.write_images import parametric_map, segmentation
from RTResponseCAMLib.dicom.write_rtstruct import Region, rtstruct
from RTResponseCAMLib.dosimetry.dvh import dvh
from RTResponseCAMLib.errors import OutputError, StudyError
from RTResponseCAMLib.imaging.fraction import mask
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.outlines import edge_contours
from RTResponseCAMLib.imaging.planes import stack_planes
from RTResponseCAMLib.study import Structure

PLACES = {"axial": np.eye(4), "double oblique": rotation(1, -12) @ rotation(0, 20), "sagittal": rotation(2, 90)}


def regions_of(study) -> list[Region]:
    """A ball with a hole, two parts apart, a plate of one slice, a single voxel; boxes of the MR."""
    whole = Grid.of(study.mr)
    box = whole.crop((20, 30, 12), (30, 26, 14))
    place = np.stack(np.meshgrid(*(np.arange(n) for n in box.shape), indexing="ij"), axis=-1) - [6, 12, 14]
    away = np.linalg.norm(place, axis=-1)
    parts = np.zeros(box.shape, bool)
    parts[1:4, 2:7, 3:9] = parts[9:12, 15:20, 20:25] = parts[10, 16, 22] = True
    plate, single = np.zeros(box.shape, bool), np.zeros(box.shape, bool)
    plate[5, 4:9, 4:7] = True
    single[7, 8, 9] = True
    masks = {"shell": (away < 5.6) & (away > 2.1), "parts": parts, "plate": plate, "voxel": single}
    return [Region(name, f"test of {name}", m, box) for name, m in masks.items()]


def exported(study, folder, out):
    source_series = find_source_series(folder, study)
    data, warnings = rtstruct(source_series, regions_of(study), label="test", version="0")
    save(data, out / "RS.dcm")
    return data, warnings


@pytest.mark.parametrize("place", PLACES)
def test_contours_hold_exactly_the_voxels_in_every_orientation(own_study, tmp_path, place):
    turn(own_study, PLACES[place])
    study = load_study(own_study)
    data, warnings = exported(study, own_study, tmp_path)
    assert warnings == ()
    structures, _ = read_structures(tmp_path / "RS.dcm")
    for found, region in zip(structures, regions_of(study), strict=True):
        back = mask(found, region.grid)
        assert found.name == region.name
        assert (back == region.mask).all()
        if len(np.unique(np.nonzero(region.mask)[0])) > 1:  # one plane says nothing about its thickness
            volume = stack_planes(found).volume_mm3 / 1000
            assert volume == pytest.approx(region.mask.sum() * region.grid.voxel_cc, rel=0.001)
    files = {str(read_header(p).SOPInstanceUID): read_header(p) for p in (own_study / "t1c").glob("*.dcm")}
    for item in data.ROIContourSequence:
        for contour in item.ContourSequence:
            image = files[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            rows = np.asarray(image.ImageOrientationPatient, float).reshape(2, 3)
            points = np.asarray(contour.ContourData, float).reshape(-1, 3)
            away = (points - np.asarray(image.ImagePositionPatient, float)) @ np.cross(*rows)
            assert np.abs(away).max() < 0.01


def test_the_structure_set_is_one_of_the_same_patient_and_nobodys_plan(study, study_folder, tmp_path):
    data, _ = exported(study, study_folder / "dicom", tmp_path)
    source = read_header(next((study_folder / "dicom" / "t1c").glob("*.dcm")))
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert data[keyword].value == source[keyword].value
    assert data.SeriesInstanceUID != source.SeriesInstanceUID
    assert data.ApprovalStatus == "UNAPPROVED"
    assert {r.ROIGenerationAlgorithm for r in data.StructureSetROISequence} == {"AUTOMATIC"}
    assert dicom_errors(tmp_path / "RS.dcm") == []


@pytest.mark.slow
def test_an_export_beside_its_study_is_not_read_as_part_of_it(own_study, study):
    found = load_study(own_study)
    exported(found, own_study, own_study)
    save(segmentation(find_source_series(own_study, found), regions_of(found), version="0"), own_study / "SEG.dcm")
    for plan in own_study.rglob("*.dcm"):  # no plan then says which structure set is the treated one
        if read_header(plan).Modality == "RTPLAN":
            plan.unlink()
    again = load_study(own_study, prescription_gy=20.0)
    assert [x.structure.name for x in again.lesions] == [x.structure.name for x in study.lesions]
    assert "own-export" in {c.code for c in again.warnings}


@pytest.mark.slow
def test_an_independent_reader_finds_the_same_voxels(study, study_folder, tmp_path):
    exported(study, study_folder / "dicom", tmp_path)
    sitk.WriteImage(sitk.Cast(study.mr, sitk.sitkInt16), str(tmp_path / "mr.nrrd"))
    command = [plastimatch(), "convert", "--input", str(tmp_path / "RS.dcm"), "--fixed", str(tmp_path / "mr.nrrd")]
    command += ["--output-prefix", str(tmp_path / "out")]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    files = {path.stem: path for path in (tmp_path / "out").iterdir()}
    for region in regions_of(study):
        theirs = sitk.ReadImage(str(files[region.name]))
        whole = np.zeros(Grid.of(study.mr).shape, bool)
        whole[12:26, 30:56, 20:50] = region.mask
        assert ((sitk.GetArrayFromImage(theirs) > 0) == whole).all(), region.name


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_segments_come_back_from_classic_and_enhanced_series(own_study, tmp_path, kind):
    import highdicom as hd

    if kind == "enhanced":
        make_enhanced(own_study / "t1c")
    study = load_study(own_study)
    regions = regions_of(study)
    save(segmentation(find_source_series(own_study, study), regions, version="0"), tmp_path / "SEG.dcm")
    path = tmp_path / "SEG.dcm"
    structures, _ = read_segments(Entry(path, read_header(path, TAGS)))
    theirs = hd.seg.segread(path)
    lattice = Grid.of(study.mr)
    for number, (found, region) in enumerate(zip(structures, regions, strict=True), start=1):
        assert found.name == region.name
        assert (mask(found, region.grid) == region.mask).all()
        volume = theirs.get_volume(segment_numbers=[number], combine_segments=True)
        index = np.argwhere(volume.array > 0)
        places = (volume.affine @ np.column_stack([index, np.ones(len(index))]).T)[:3].T
        expected = region.grid.points()[region.mask]
        assert len(places) == len(expected)
        np.testing.assert_allclose(
            np.unique(np.rint(lattice.to_index(places)), axis=0),
            np.unique(np.rint(lattice.to_index(expected)), axis=0),
        )
    if kind == "classic":
        assert dicom_errors(path) == []


def test_the_map_comes_back_raw(study, study_folder, tmp_path):
    box = Grid.of(study.mr).crop((20, 30, 12), (30, 26, 4))
    values = np.random.default_rng(0).normal(size=box.shape).astype(np.float32)
    source_series = find_source_series(study_folder / "dicom", study)
    save(parametric_map(source_series, box.image(values), scale="local logit", version="0"), tmp_path / "PM.dcm")
    data = pydicom.dcmread(tmp_path / "PM.dcm")
    assert (data.Modality, data.ContentQualification) == ("OT", "RESEARCH")
    frames = np.frombuffer(data.FloatPixelData, np.float32).reshape(-1, data.Rows, data.Columns)
    assert len(frames) == 4
    for frame, groups in zip(frames, data.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.asarray(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        k = round(float(box.to_index(position[None])[0, 2]))
        np.testing.assert_array_equal(frame[30:56, 20:50], values[k])
        assert np.count_nonzero(frame) == np.count_nonzero(values[k])
    assert dicom_errors(tmp_path / "PM.dcm") == []


def test_a_planted_subregion_measures_back(study, study_folder, tmp_path):
    """Within 2 % of its volume and 0.5 % of its dose, after export and import."""
    planted = sitk.ReadImage(str(study_folder / "truth" / "resistant_planning.nrrd"))
    grid = Grid.of(study.mr)
    labels = sitk.GetArrayFromImage(sitk.Resample(planted, grid.blank(), sitk.Transform(), sitk.sitkNearestNeighbor))
    regions = [Region(f"part {n}", "planted", labels == n, grid) for n in (1, 2, 3) if (labels == n).any()]
    assert regions
    data, _ = rtstruct(find_source_series(study_folder / "dicom", study), regions, label="planted", version="0")
    save(data, tmp_path / "RS.dcm")
    structures, _ = read_structures(tmp_path / "RS.dcm")
    for found, region in zip(structures, regions, strict=True):
        before = dvh(Structure(1, "truth", "", edge_contours(region.mask, grid)), study.dose)
        after = dvh(found, study.dose)
        assert after.volume_cc == pytest.approx(region.mask.sum() * grid.voxel_cc, rel=0.02)
        for percent in (98, 95, 50, 2):
            assert after.dose_to_percent(percent) == pytest.approx(before.dose_to_percent(percent), rel=0.005)
        assert after.mean_gy == pytest.approx(before.mean_gy, rel=0.005)


@pytest.mark.slow
def test_missing_images_are_named(own_study, tmp_path):
    study = load_study(own_study)
    files = sorted((own_study / "t1c").glob("*.dcm"), key=lambda p: float(read_header(p).ImagePositionPatient[2]))
    files[-1].unlink()
    with pytest.raises(StudyError, match="slices of the planning MR"):
        find_source_series(own_study, study)
    shutil.rmtree(own_study / "t1c")
    with pytest.raises(StudyError, match="planning MR"):
        find_source_series(own_study, study)


@pytest.mark.slow
def test_a_slice_that_is_missing_within_leaves_contours_without_image(own_study, tmp_path):
    files = sorted((own_study / "t1c").glob("*.dcm"), key=lambda p: float(read_header(p).ImagePositionPatient[2]))
    files[17].unlink()  # within the regions
    study = load_study(own_study)
    source_series = find_source_series(own_study, study)
    assert not source_series.regular
    data, warnings = rtstruct(source_series, regions_of(study)[:1], label="test", version="0")
    assert {c.code for c in warnings} == {"no-slice"}
    without = [c for c in data.ROIContourSequence[0].ContourSequence if "ContourImageSequence" not in c]
    assert without
    with pytest.raises(StudyError, match="RTSTRUCT"):
        segmentation(source_series, regions_of(study), version="0")


def test_nothing_is_not_exported(study, study_folder):
    source_series = find_source_series(study_folder / "dicom", study)
    box = Grid.of(study.mr).crop((0, 0, 0), (4, 4, 4))
    nothing = Region("nothing", "", np.zeros(box.shape, bool), box)
    data, warnings = rtstruct(source_series, [nothing], label="test", version="0")
    assert len(data.StructureSetROISequence) == 0
    assert {c.code for c in warnings} == {"empty-region"}
    with pytest.raises(OutputError, match="no region"):
        segmentation(source_series, [nothing], version="0")
    with pytest.raises(OutputError, match="empty"):
        parametric_map(source_series, box.image(np.zeros(box.shape, np.float32)), scale="", version="0")


@pytest.mark.slow
def test_a_bare_mr_and_names_in_any_script_are_exported(own_study, tmp_path):
    """De-identified: attributes that may be empty are absent, and so is the character set."""
    for path in (own_study / "t1c").glob("*.dcm"):

        def strip(data):
            for keyword in ("AccessionNumber", "StudyID", "PatientBirthDate", "PatientSex", "StudyTime"):
                del data[keyword]
            del data.SpecificCharacterSet

        edit(path, strip)
    study = load_study(own_study)
    source_series = find_source_series(own_study, study)
    named = [Region("Метастаз Läsion α/β", "größer – β", r.mask, r.grid) for r in regions_of(study)[:1]]
    made = {
        "RS": rtstruct(source_series, named, label="test", version="0")[0],
        "SEG": segmentation(source_series, named, version="0"),
    }
    for kind, data in made.items():
        save(data, tmp_path / f"{kind}.dcm")
        back = pydicom.dcmread(tmp_path / f"{kind}.dcm")
        name = back.StructureSetROISequence[0].ROIName if kind == "RS" else back.SegmentSequence[0].SegmentLabel
        assert name == named[0].name
        assert back.AccessionNumber in ("", None)


@pytest.mark.slow
def test_an_mr_without_a_frame_of_reference_is_refused(own_study):
    study = load_study(own_study)
    for path in (own_study / "t1c").glob("*.dcm"):
        edit(path, lambda data: data.__delattr__("FrameOfReferenceUID"))
    with pytest.raises(StudyError, match="FrameOfReferenceUID"):
        find_source_series(own_study, study)
