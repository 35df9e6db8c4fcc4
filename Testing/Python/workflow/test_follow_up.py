"""Follow-ups of phantom patients end to end: registered, measured and labeled against the planted truth."""

from __future__ import annotations

import html
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from quirks import edit, write_registration, write_segmentation
from scipy.ndimage import binary_dilation, binary_erosion, distance_transform_edt

from RTResponseCAMLib.cli import BAD_INPUT, DONE, main
from RTResponseCAMLib.dicom.load import load_study
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.imaging.rigid import as_matrix, moved_points
from RTResponseCAMLib.phantom.patient import sample_patient
from RTResponseCAMLib.phantom.spec import PhantomSpec, Variant
from RTResponseCAMLib.phantom.write import write_patient
from RTResponseCAMLib.response.conventions import CONVENTIONS, with_thresholds
from RTResponseCAMLib.response.trajectory import three_month_label
from RTResponseCAMLib.workflow.follow_up import follow_study
from RTResponseCAMLib.workflow.write_follow_up import write_follow_up

SIZE = {"columns": 150, "rows": 174, "slices": 108, "spacing_mm": (1.3, 1.2, 1.5)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("followed") / "study"
    write_patient(sample_patient(PhantomSpec(seed=12, lesions=3, variant=Variant.VOLUME, **SIZE)), place)
    return place


@pytest.fixture(scope="module")
def truth(folder):
    return json.loads((folder / "truth" / "truth.json").read_text())


@pytest.fixture(scope="module")
def true_map(folder):
    """Planning points onto follow-up points."""
    return as_matrix(sitk.ReadTransform(str(folder / "truth" / "planning_to_follow_up.tfm")))


@pytest.fixture
def own(folder, tmp_path) -> Path:
    return Path(shutil.copytree(folder / "dicom", tmp_path / "dicom"))


def draw_on_follow_up(own: Path, folder: Path, keep=lambda number: True) -> np.ndarray:
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "truth" / "lesions_follow_up.nrrd")))
    masks = {f"met {n}": labels == n for n in range(1, 4) if keep(n)}
    write_segmentation(own / "fu.dcm", sorted((own / "follow_up").glob("*.dcm")), masks)
    return labels


@pytest.fixture(scope="module")
def proposed(folder):
    return follow_study(load_study(folder / "dicom", with_dose=False))


@pytest.mark.slow
def test_the_registration_is_the_planted_pose(proposed, true_map):
    found = proposed.visits[0].registration
    points = np.array([(x, y, z) for x in (-50, 0, 50) for y in (-60, 0, 60) for z in (-40, 0, 40)], float)
    error = points @ (found.to_follow_up[:3, :3] - true_map[:3, :3]).T + found.to_follow_up[:3, 3] - true_map[:3, 3]
    assert np.linalg.norm(error, axis=1).max() < 0.6
    assert found.method == "moments"


def test_undrawn_lesions_are_proposed_and_say_so(proposed, truth):
    for trajectory, planted in zip(proposed.trajectories, truth["lesions"], strict=True):
        visit = trajectory.visits[0]
        assert visit.status == visit.source == "proposed"
        assert "proposed-region" in {c.code for c in visit.warnings}
        expected = planted["volume_cc"] * planted["volume_ratio"]
        assert visit.volume.low_cc <= expected <= visit.volume.high_cc


def test_drawn_lesions_are_measured_and_labeled_as_planted(own, folder, truth):
    labels = draw_on_follow_up(own, folder)
    followed = follow_study(load_study(own, with_dose=False))
    image = sitk.ReadImage(str(folder / "truth" / "lesions_follow_up.nrrd"))
    voxel = float(np.prod(image.GetSpacing())) / 1000
    for number, (path, planted) in enumerate(zip(followed.trajectories, truth["lesions"], strict=True), start=1):
        visit = path.visits[0]
        assert (visit.status, visit.source) == ("matched", "SEG")
        assert visit.volume.cc == pytest.approx((labels == number).sum() * voxel, rel=1e-3)
        found = three_month_label(path)
        assert found.change.low <= planted["volume_ratio"] - 1 <= found.change.high
        assert found.category in ("indeterminate", "response" if planted["label"] == 0 else "non-response")
        assert found.change.value == pytest.approx(planted["volume_ratio"] - 1, abs=0.1)


def erase_on_follow_up(own: Path, folder: Path, number: int) -> None:
    """Fill a lesion of the follow-up, and 3 mm around it, with the signal of its surroundings and their noise."""
    labels = sitk.ReadImage(str(folder / "truth" / "lesions_follow_up.nrrd"))
    lesion = sitk.GetArrayFromImage(labels) == number
    spacing = labels.GetSpacing()[::-1]
    away = distance_transform_edt(~lesion, sampling=spacing)
    files = sorted((own / "follow_up").glob("*.dcm"))
    stack = np.stack([pydicom.dcmread(f).pixel_array for f in files])
    around = stack[(away > 4) & (away < 9)]
    healthy = around[around < np.percentile(around, 80)]
    stack[away <= 3] = np.random.default_rng(4).choice(healthy, int((away <= 3).sum()))
    for file, plane in zip(files, stack, strict=True):
        edit(file, lambda data, plane=plane: setattr(data, "PixelData", plane.tobytes()))


@pytest.mark.slow
def test_a_lesion_that_is_gone_from_a_drawn_follow_up_has_vanished(own, folder):
    draw_on_follow_up(own, folder, keep=lambda number: number != 2)
    erase_on_follow_up(own, folder, 2)
    followed = follow_study(load_study(own, with_dose=False))
    assert [t.visits[0].status for t in followed.trajectories] == ["matched", "vanished", "matched"]
    assert three_month_label(followed.trajectories[1]).category == "response"


@pytest.mark.slow
def test_a_lesion_that_was_not_drawn_but_enhances_is_no_response(own, folder):
    """A second plan holds its own targets only: what it leaves out has not gone."""
    draw_on_follow_up(own, folder, keep=lambda number: number != 2)
    study = load_study(own, with_dose=False)
    followed = follow_study(study)
    assert [t.visits[0].status for t in followed.trajectories] == ["matched", "proposed", "matched"]
    assert three_month_label(followed.trajectories[1]).category == "indeterminate"
    assert "lesion-not-contoured" in {c.code for c in followed.trajectories[1].visits[0].warnings}
    assert [r.source for r in followed.visits[0].regions] == ["SEG", "SEG", "proposed"]
    unknown = follow_study(study, propose=False).trajectories[1]
    assert three_month_label(unknown).category == "unknown"
    assert unknown.visits[0].warnings[0].code == "lesion-not-contoured"


@pytest.mark.slow
@pytest.mark.parametrize("beyond_mm", [0.0, 6.0, 12.0, 300.0])
def test_a_lesion_at_or_beyond_the_edge_is_unknown_although_others_were_drawn(own, folder, true_map, beyond_mm):
    """Cut through by the last slice, or so near that its surroundings are still on the scan."""
    draw_on_follow_up(own, folder, keep=lambda number: number != 2)
    study = load_study(own, with_dose=False)
    head = pydicom.dcmread(min((own / "follow_up").glob("*.dcm")), stop_before_pixels=True)
    x, y = np.asarray(head.ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(x, y)
    edge = np.asarray(head.ImagePositionPatient, float) @ normal
    contours = study.lesions[1].structure.contours
    middle = moved_points(true_map, np.concatenate(contours).mean(axis=0)) @ normal
    shift = true_map[:3, :3].T @ normal * (edge - middle - beyond_mm)
    away = replace(study.lesions[1].structure, contours=tuple(c + shift for c in contours))
    moved = (study.lesions[0], replace(study.lesions[1], structure=away), study.lesions[2])
    transforms = {"F1": folder / "truth" / "planning_to_follow_up.tfm"}
    followed = follow_study(replace(study, lesions=moved), transforms)
    assert [t.visits[0].status for t in followed.trajectories] == ["matched", "unknown", "matched"]
    assert followed.trajectories[1].visits[0].warnings[0].code == "beyond-follow-up"


@pytest.mark.slow
def test_proposals_that_are_given_back_are_what_they_were(own, folder, tmp_path):
    """The written lesions lie on the planning grid; edited, they are given back as they are."""
    study = load_study(own, with_dose=False)
    transforms = {"F1": folder / "truth" / "planning_to_follow_up.tfm"}
    first = follow_study(study, transforms)
    write_follow_up(first, tmp_path / "out", report=False)
    again = follow_study(study, transforms, masks={"F1": tmp_path / "out" / "F1_lesions.seg.nrrd"})
    for one, other in zip(first.trajectories, again.trajectories, strict=True):
        assert (one.visits[0].status, other.visits[0].status) == ("proposed", "matched")
        assert other.visits[0].volume.cc == pytest.approx(one.visits[0].volume.cc, rel=0.12)  # 65 voxels
    assert [r.lesion for r in again.visits[0].regions] == sorted(r.lesion for r in again.visits[0].regions)
    plain = sitk.ReadImage(str(tmp_path / "out" / "F1_lesions.seg.nrrd"))
    for key in plain.GetMetaDataKeys():
        plain.EraseMetaData(key)
    sitk.WriteImage(plain, str(tmp_path / "plain.nrrd"))  # here the grids of both scans are the same numbers
    guessed = follow_study(study, transforms, masks={"F1": tmp_path / "plain.nrrd"})
    assert [t.visits[0].status for t in guessed.trajectories] == ["matched"] * 3
    assert "mask-on-either" in {c.code for c in guessed.visits[0].warnings}
    elsewhere = sitk.Image([20, 20, 20], sitk.sitkUInt8)
    sitk.WriteImage(elsewhere, str(tmp_path / "elsewhere.nrrd"))
    failed = follow_study(study, transforms, masks={"F1": tmp_path / "elsewhere.nrrd"})
    assert "lies neither on the grid of F1 nor on that of the planning MR" in failed.visits[0].problem


@pytest.mark.slow
def test_parts_of_lesions_in_a_label_map_belong_together_when_told_so(own, folder, tmp_path):
    study = load_study(own, with_dose=False)
    transforms = {"F1": folder / "truth" / "planning_to_follow_up.tfm"}
    image = sitk.ReadImage(str(folder / "truth" / "lesions_follow_up.nrrd"))
    inside = sitk.GetArrayFromImage(image) > 0
    parts = np.where(inside, 3, 0) + np.where(binary_dilation(inside, iterations=3) & ~inside, 2, 0)
    parts[binary_erosion(inside)] = 1
    mask = sitk.GetImageFromArray(parts.astype(np.uint8))
    mask.CopyInformation(image)
    sitk.WriteImage(mask, str(tmp_path / "parts.nrrd"))
    files = {"F1": tmp_path / "parts.nrrd"}
    loose = follow_study(study, transforms, masks=files)
    assert "labels-touch" in {c.code for c in loose.visits[0].warnings}
    whole = follow_study(study, transforms, masks=files, mask_values=(1, 3))
    voxel = float(np.prod(image.GetSpacing())) / 1000
    assert sum(t.visits[0].volume.cc for t in whole.trajectories) == pytest.approx(inside.sum() * voxel, rel=1e-3)


@pytest.mark.slow
def test_drawn_lesions_named_like_anatomy_are_not_lost(own, folder):
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "truth" / "lesions_follow_up.nrrd")))
    masks = {name: labels == n for n, name in enumerate(("L periventricular", "Brainstem", "GTV 3"), start=1)}
    masks["Chiasm"] = np.zeros(labels.shape, bool)
    masks["Chiasm"][50:54, 80:86, 70:76] = True
    write_segmentation(own / "fu.dcm", sorted((own / "follow_up").glob("*.dcm")), masks)
    followed = follow_study(load_study(own, with_dose=False))
    assert [t.visits[0].status for t in followed.trajectories] == ["matched"] * 3
    assert [c.text for c in followed.visits[0].warnings if c.code == "not-taken"] == [
        "structures of F1 that are not read as lesions: Chiasm"
    ]


def test_slips_of_the_user_are_errors_at_once(own, folder, tmp_path, capsys):
    study = load_study(own, with_dose=False)
    for boundary in (0.0, -0.5, float("nan")):
        with pytest.raises(StudyError, match="expected more than 0"):
            follow_study(study, boundary_mm=boundary)
    with pytest.raises(StudyError, match="there is no such file"):
        follow_study(study, masks={"F1": tmp_path / "slip.nrrd"})
    base = ["--quiet", "follow-up", str(own), "--out", str(tmp_path / "out")]
    mask = str(folder / "truth" / "lesions_follow_up.nrrd")
    for extra, said in (
        (["--window", "120", "60"], "expected 0 <= first <= target <= last"),
        (["--target-day", "30"], "expected 0 <= first <= target <= last"),
        (["--response-below", "20"], "expected below 0 %"),
        (["--mask", f"F1={mask}", "--mask", f"F1={mask}"], "names a follow-up twice"),
    ):
        assert main([*base, *extra]) == BAD_INPUT
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_plan_without_follow_up_is_refused(own):
    shutil.rmtree(own / "follow_up")
    with pytest.raises(StudyError, match="no later contrast-enhanced T1"):
        follow_study(load_study(own, with_dose=False))


@pytest.mark.slow
def test_without_drawing_or_proposal_the_lesion_is_unknown(folder):
    followed = follow_study(load_study(folder / "dicom", with_dose=False), propose=False)
    assert {t.visits[0].status for t in followed.trajectories} == {"unknown"}
    assert all(t.visits[0].volume is None for t in followed.trajectories)
    assert three_month_label(followed.trajectories[0]).category == "unknown"


@pytest.mark.slow
def test_a_dicom_registration_is_used_instead_of_registering(own, true_map):
    frames = [
        str(pydicom.dcmread(next((own / part).glob("*.dcm")), stop_before_pixels=True).FrameOfReferenceUID)
        for part in ("t1c", "follow_up")
    ]
    write_registration(own / "reg.dcm", *frames, true_map)
    found = follow_study(load_study(own, with_dose=False)).visits[0].registration
    assert found.method == "DICOM"
    np.testing.assert_allclose(found.to_follow_up, true_map, atol=1e-5)


@pytest.mark.slow
def test_a_manual_transform_and_a_label_map_are_used(folder, true_map):
    study = load_study(folder / "dicom", with_dose=False)
    files = {"F1": folder / "truth" / "planning_to_follow_up.tfm"}
    masks = {"F1": folder / "truth" / "lesions_follow_up.nrrd"}
    followed = follow_study(study, files, masks=masks)
    assert followed.visits[0].registration.method == "manual"
    assert [t.visits[0].source for t in followed.trajectories] == ["label map"] * 3
    with pytest.raises(StudyError, match="no such follow-up; the study has F1"):
        follow_study(study, {"F2": files["F1"]})


def test_a_follow_up_that_cannot_be_read_is_unknown_and_says_why(own):
    for path in sorted((own / "follow_up").glob("*.dcm"))[20:24]:
        path.unlink()
    followed = follow_study(load_study(own, with_dose=False))
    assert "the step to the next slice" in followed.visits[0].problem
    assert {t.visits[0].status for t in followed.trajectories} == {"unknown"}


@pytest.mark.slow
def test_a_second_visit_has_its_own_name_and_day(own):
    later = own / "later"
    shutil.copytree(own / "follow_up", later)
    for number, path in enumerate(sorted(later.glob("*.dcm"))):

        def change(data, number=number):
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
            data.SeriesInstanceUID = "1.2.3"
            data.StudyDate = data.SeriesDate = "20210101"

        edit(path, change)
    study = load_study(own, with_dose=False)
    assert [f.days_after_plan for f in study.follow_ups][1] == 357
    followed = follow_study(study, propose=False)
    assert [v.name for v in followed.visits] == ["F1", "F2"]


def test_everything_is_written_and_readable(proposed, tmp_path):
    content = write_follow_up(proposed, tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "follow_up.json", "visits.csv", "F1_registration.tfm", "F1_lesions.seg.nrrd", "report.html",
    }  # fmt: skip
    assert json.loads((tmp_path / "out" / "follow_up.json").read_text()) == json.loads(json.dumps(content))
    transform = sitk.ReadTransform(str(tmp_path / "out" / "F1_registration.tfm"))
    np.testing.assert_allclose(as_matrix(transform), proposed.visits[0].registration.to_follow_up, atol=1e-6)
    labels = sitk.ReadImage(str(tmp_path / "out" / "F1_lesions.seg.nrrd"))
    assert sitk.GetArrayViewFromImage(labels).max() == 3
    assert labels.GetMetaData("Segment0_Name") == "L1, GTV 1 (proposed)"
    text = (tmp_path / "out" / "report.html").read_text()
    assert "Research use only" in text
    assert text.count("data:image/png") == 2
    assert "volume is more than 20 % smaller" in text
    assert "proposed contours (review required): L1 at F1, L2 at F1, L3 at F1" in text
    quality_flags = [c.text for t in proposed.trajectories for c in t.visits[0].warnings if c.code != "proposed-region"]
    assert all(html.escape(quality_flag).replace("&#x27;", "&#39;") in text for quality_flag in quality_flags)


def test_the_report_states_the_rule_that_was_asked_for(proposed, tmp_path):
    rule = with_thresholds(CONVENTIONS["rano-bm"], -50.0, progression=40.0)
    write_follow_up(proposed, tmp_path / "out", label_convention=rule, window_days=(30, 200), target_days=120)
    text = (tmp_path / "out" / "report.html").read_text()
    assert "longest diameter is more than 50 % smaller" in text
    assert "more than 40 % larger than at the nadir and by 5 mm or more" in text
    assert "nearest day 120 within days 30–200" in text


@pytest.mark.slow
def test_the_command_line_follows_up(folder, tmp_path, capsys):
    out = tmp_path / "out"
    mask = folder / "truth" / "lesions_follow_up.nrrd"
    arguments = ["--quiet", "follow-up", str(folder / "dicom"), "--out", str(out), "--mask", f"F1={mask}"]
    assert main(arguments) == DONE
    assert "label map" in capsys.readouterr().out
    assert main([*arguments[:-1], "F1", "--overwrite"]) == BAD_INPUT
    assert "expects F1=FILE" in capsys.readouterr().err


@pytest.mark.slow
def test_it_can_be_cancelled(folder, tmp_path):
    from RTResponseCAMLib.progress import Cancelled

    def stop(fraction, text=""):
        if fraction > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        follow_study(load_study(folder / "dicom", with_dose=False), progress=stop)
