"""Lesions in real heads: what is kept of the file, what is painted, and files that are no head."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from RTResponseCAMLib.cli import main
from RTResponseCAMLib.dicom.load import load_study
from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.phantom.anatomy import WHITE, sample_anatomy
from RTResponseCAMLib.phantom.patient import contour_structures, planning_grid, render_mr, sample_patient
from RTResponseCAMLib.phantom.real_head import read_head
from RTResponseCAMLib.phantom.spec import PhantomSpec
from RTResponseCAMLib.phantom.write import names_of, write_patient

ANATOMY = sample_anatomy(PhantomSpec())
BRAIN = "t1c_brains/patient07_t1post_mni.nii.gz"


@pytest.fixture(scope="module")
def head_file(tmp_path_factory):
    """A whole head that stands for a real one: of another seed, 1.5 mm voxels, in RAS order, far from the origin."""
    patient = sample_patient(
        PhantomSpec(seed=77, lesions=1, columns=128, rows=152, slices=100, spacing_mm=(1.5, 1.5, 1.7), scanner="se-3t")
    )
    image = sitk.DICOMOrient(render_mr(patient, planning_grid(patient)), "RAS")
    image.SetOrigin([v + 40.0 for v in image.GetOrigin()])
    path = tmp_path_factory.mktemp("head") / "head.nii.gz"
    sitk.WriteImage(image, str(path))
    return path


def changed(path: Path, folder: Path, change) -> Path:
    image = sitk.ReadImage(str(path))
    values = change(sitk.GetArrayFromImage(image).astype(np.float32))
    written = sitk.GetImageFromArray(values)
    written.CopyInformation(image)
    sitk.WriteImage(written, str(folder / "changed.nii.gz"))
    return folder / "changed.nii.gz"


def test_voxels_outside_lesions_are_those_of_the_file(head_file):
    spec = PhantomSpec(seed=5, lesions=2, family="texture", head=str(head_file))
    patient = sample_patient(spec)
    original = sitk.DICOMOrient(sitk.ReadImage(str(head_file)), "LPS")
    grid = planning_grid(patient)
    assert grid == Grid.of(original)
    image, file = (sitk.GetArrayFromImage(i).astype(float) for i in (render_mr(patient, grid), original))
    factor = image.sum() / file.sum()
    same = np.abs(image - factor * file) < 0.02 * 1000 * WHITE
    points = grid.points() - np.asarray(patient.to_head.GetInverse().TransformPoint((0.0, 0.0, 0.0)))
    near = np.zeros(grid.shape, dtype=bool)
    for lesion in patient.lesions:
        near |= np.linalg.norm(points - lesion.center_mm, axis=-1) < lesion.reach_mm + 4
    assert same[~near].mean() > 0.999
    for lesion in patient.lesions:
        inside = lesion.level(points - lesion.center_mm) > 0.2
        assert inside.sum() > 3
        assert not same[inside].all()


@pytest.mark.slow
def test_a_lesion_has_the_noise_of_the_head(head_file):
    head = read_head(head_file, anatomy=ANATOMY)
    quiet = read_head(head_file, anatomy=ANATOMY)
    quiet.noise[...] = 0
    patient = sample_patient(PhantomSpec(seed=5, lesions=1, family="texture", head=str(head_file)))
    inside = patient.lesions[0].level(
        planning_grid(patient).points() - np.asarray(patient.to_head.GetInverse().TransformPoint((0.0, 0.0, 0.0)))
        - patient.lesions[0].center_mm
    ) > 0.1  # fmt: skip
    noisy, still = (sitk.GetArrayFromImage(render_mr(p, planning_grid(p)))[inside].astype(float)
                    for p in (patient, _with_head(patient, quiet)))  # fmt: skip
    np.testing.assert_allclose(noisy - still, 1000 * head.noise[inside], atol=1.1)


def _with_head(patient, head):
    return replace(patient, head=head, to_head=head.to_head)


def test_a_lesion_is_as_blurred_as_the_head(head_file):
    patient = sample_patient(PhantomSpec(seed=5, lesions=1, family="texture", head=str(head_file)))
    steps = []
    for psf in ((0.01,) * 3, (1.5,) * 3):
        seen = replace(patient, head=replace(patient.head, psf=psf), to_head=patient.head.to_head)
        added = sitk.GetArrayFromImage(render_mr(seen, planning_grid(seen))) / 1000
        added = added - np.clip(patient.head.smooth + patient.head.noise, 0, None)
        added[np.abs(added) < 0.005] = 0  # what rounding to whole numbers leaves
        steps.append(np.abs(np.diff(added, axis=2)).sum())
    assert steps[1] < 0.8 * steps[0]


def test_lesions_lie_in_white_matter_apart_from_each_other_and_below_the_surface(head_file):
    patient = sample_patient(PhantomSpec(seed=6, lesions=4, family="texture", head=str(head_file)))
    head = patient.head
    for number, lesion in enumerate(patient.lesions):
        assert head.depth_at(lesion.center_mm) > 14.5 + 1.2 * lesion.radius_mm  # below skull and scalp
        lps = patient.to_head.GetInverse().TransformPoint(lesion.center_mm.tolist())
        k, j, i = np.rint(head.grid.to_index(np.asarray([lps]))[0]).astype(int)[::-1]
        assert head.smooth[k, j, i] == pytest.approx(WHITE, rel=0.2)
        for other in patient.lesions[:number]:
            assert np.linalg.norm(lesion.center_mm - other.center_mm) > lesion.radius_mm + other.radius_mm + 6
    with pytest.raises(RTResponseError, match="has no white matter left for a lesion of 160 mm"):
        head.find_place(80.0, placed=[], rng=np.random.default_rng(1))


@pytest.mark.slow
def test_the_written_study_loads_with_the_volumes_of_the_truth(head_file, tmp_path):
    patient = sample_patient(PhantomSpec(seed=5, lesions=2, family="necrosis", head=str(head_file)))
    write_patient(patient, tmp_path / "p")
    study = load_study(tmp_path / "p" / "dicom")
    assert Grid.of(study.mr).size == planning_grid(patient).size
    assert [contour_volume_cc(x.structure) for x in study.lesions] == pytest.approx(
        [x.volume_cc for x in patient.lesions], rel=0.1, abs=0.01
    )
    assert len(study.follow_ups) == 1
    assert '"that of the real head"' in (tmp_path / "p/truth/truth.json").read_text()
    skull = next(s for s in contour_structures(patient, planning_grid(patient)) if s.kind == "EXTERNAL")
    assert np.ptp(np.concatenate(skull.contours), axis=0).min() > 80


@pytest.mark.slow
def test_the_follow_up_shows_the_head_moved_and_the_lesion_at_its_later_size(head_file):
    patient = sample_patient(PhantomSpec(seed=5, lesions=1, family="texture", head=str(head_file)))
    grid = planning_grid(patient)
    before, after = (sitk.GetArrayFromImage(render_mr(patient, grid, follow_up=f)).astype(float) for f in (False, True))
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] < 0.95
    moved = sitk.CompositeTransform([patient.follow_up_to_head.GetInverse(), patient.to_head])
    back = sitk.GetArrayFromImage(
        sitk.Resample(grid.image(after.astype(np.float32)), grid.blank(), moved, sitk.sitkLinear, 0.0)
    )
    deep = patient.head.depth_mm > 25
    assert np.corrcoef(before[deep], back[deep])[0, 1] > np.corrcoef(before[deep], after[deep])[0, 1] + 0.3


def test_the_point_spread_is_that_of_the_noise(tmp_path):
    """White noise behind a known filter, in a brain of even tissue."""
    rng, grid = np.random.default_rng(1), Grid((120, 140, 60), (1.5, 1.5, 3.0), (-90.0, -105.0, -90.0))
    radius = np.linalg.norm(grid.points() / [1.0, 1.2, 1.0], axis=-1)
    noise = gaussian_filter(rng.standard_normal(grid.shape), (0.5, 0.6, 0.8))
    values = np.where(radius < 70, 740 + 20 * noise / noise.std(), 0.0)
    sitk.WriteImage(grid.image(values.astype(np.float32)), str(tmp_path / "ball.nii.gz"))
    head = read_head(tmp_path / "ball.nii.gz", anatomy=ANATOMY, brain_only=True)
    assert head.psf == pytest.approx((0.5, 0.6, 0.8), abs=0.1)


def test_uids_follow_the_content_of_the_head_and_not_its_place(head_file, tmp_path):
    """Two files of one name are two people."""

    def uid(path):
        head = read_head(path, anatomy=ANATOMY)
        return names_of(SimpleNamespace(spec=PhantomSpec(seed=5, head=str(path)), head=head)).uid("x")

    copy = Path(shutil.copy(head_file, tmp_path / "copy.nii.gz"))
    (tmp_path / "other").mkdir()
    other = changed(head_file, tmp_path / "other", lambda v: np.where(v > 50, v + 1, v))
    assert uid(copy) == uid(head_file)
    assert uid(Path(other.rename(tmp_path / "other" / head_file.name))) != uid(head_file)


@pytest.mark.samples
def test_a_brain_without_skull_is_refused_or_given_one(samples):
    with pytest.raises(RTResponseError, match=r"shows a brain without its skull.*--brain-only"):
        read_head(samples / BRAIN, anatomy=ANATOMY)
    head = read_head(samples / BRAIN, anatomy=ANATOMY, brain_only=True)
    whole = head.smooth + head.noise
    shell = (head.depth_mm > 0.4) & (head.depth_mm < 1.5)
    skull = (head.depth_mm > 6) & (head.depth_mm < 7.5)
    assert np.median(whole[shell]) > 0.8
    assert np.median(whole[skull]) < 0.25
    file = sitk.GetArrayFromImage(sitk.DICOMOrient(sitk.ReadImage(str(samples / BRAIN)), "LPS"))
    middle = tuple(slice(n // 2 - 10, n // 2 + 10) for n in file.shape)
    ours = tuple(slice(n // 2 - 10, n // 2 + 10) for n in whole.shape)
    tissue = file[middle] > 0
    assert np.corrcoef(file[middle][tissue], whole[ours][tissue])[0, 1] > 0.999


def test_bad_heads_are_refused_with_cause_and_fix(head_file, tmp_path):
    def refused(path, words, brain_only=False):
        with pytest.raises(RTResponseError, match=words) as caught:
            read_head(path, anatomy=ANATOMY, brain_only=brain_only)
        assert str(tmp_path) not in str(caught.value)

    def hole(values):
        values[5, 5, 5:8] = np.nan
        return values

    refused(changed(head_file, tmp_path, hole), "has 3 voxel.s. without a finite value")
    refused(changed(head_file, tmp_path, lambda v: np.where(v < 100, -1000, v / 10)), "looks like a CT")
    refused(changed(head_file, tmp_path, lambda v: v * 0 + 3), "has one value only")
    refused(changed(head_file, tmp_path, lambda v: (v - v.mean()) / v.std()), "it has been normalized")
    (tmp_path / "folder.nii.gz").mkdir()
    refused(tmp_path / "folder.nii.gz", "is a folder")
    refused(head_file, "shows a head with its skull", brain_only=True)
    refused(tmp_path / "none.nii", "does not exist")
    (tmp_path / "text.nii").write_text("no image")
    refused(tmp_path / "text.nii", "cannot be read as NIfTI")
    refused(tmp_path / "head.nrrd", "is not a NIfTI file")
    image = sitk.ReadImage(str(head_file))
    sitk.WriteImage(image[:, :, 40:52], str(tmp_path / "slab.nii.gz"))
    refused(tmp_path / "slab.nii.gz", "shows something of .* mm, expected a head")
    sitk.WriteImage(sitk.JoinSeries([image[::4, ::4, ::4]] * 2), str(tmp_path / "series.nii.gz"))
    refused(tmp_path / "series.nii.gz", "expected a volume")
    thick = sitk.BinShrink(image, [1, 1, 4])
    sitk.WriteImage(thick, str(tmp_path / "thick.nii.gz"))
    refused(tmp_path / "thick.nii.gz", "has voxels of 6.8 mm, expected up to 6 mm")
    sitk.WriteImage(image, str(tmp_path / "plain.nii"))
    data = bytearray((tmp_path / "plain.nii").read_bytes())
    data[252:256] = bytes(4)  # qform_code and sform_code [NIfTI-1 header]
    (tmp_path / "plain.nii").write_bytes(bytes(data))
    refused(tmp_path / "plain.nii", "states no geometry")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--scanner", "mixed"], "does not go with a real head"),
        (["--matrix", "64", "64", "32"], "--matrix: does not go with a real head"),
        (["--second-series"], "there is no T2 of a real head"),
        (["--tilt", "5"], "voxels are those of the file"),
        (["--spacing", "1", "1", "2"], "voxels are those of the file"),
    ],
)
def test_options_that_contradict_a_head_are_refused(head_file, tmp_path, capsys, options, words):
    line = ["phantom", "study", "--head", str(head_file), *options, "--lesions", "1"]
    code = main([*line, "--out", str(tmp_path / "p")])
    assert code == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "p").exists()


def test_brain_only_without_a_head_is_refused(tmp_path, capsys):
    assert main(["phantom", "study", "--brain-only", "--out", str(tmp_path / "p")]) == 2
    assert "none is given" in " ".join(capsys.readouterr().err.split())
