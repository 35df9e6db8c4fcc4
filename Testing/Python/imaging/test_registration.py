"""Registration of heads that were moved by a known amount and look different, and of what is no such head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.head import head_mask
from RTResponseCAMLib.imaging.registration import accept_transform, register_rigidly
from RTResponseCAMLib.imaging.rigid import as_matrix, is_rigid, moved_image, moved_points
from RTResponseCAMLib.imaging.transform_file import read_transform
from RTResponseCAMLib.phantom.patient import planning_grid, render_mr, sample_patient
from RTResponseCAMLib.phantom.spec import PhantomSpec

POINTS = np.array([(x, y, z) for x in (-60, 0, 60) for y in (-70, 0, 70) for z in (-50, 0, 50)], float)


def disturbed(image, rng):
    """Another contrast (gamma), bias field and noise."""
    values = sitk.GetArrayFromImage(image).astype(np.float32)
    values = np.clip(values / np.percentile(values, 99), 0, None) ** rng.uniform(0.7, 1.4)
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in values.shape], indexing="ij")
    a, b, c = rng.uniform(-0.25, 0.25, 3)
    values *= 1 + a * k + b * j + c * i + 0.1 * i * j
    values += rng.normal(0, 0.03, values.shape).astype(np.float32)
    return Grid.of(image).image(np.clip(values * 700, 0, None))


def pose(rng):
    angles = np.radians(rng.uniform(-15, 15, 3)).tolist()
    return sitk.Euler3DTransform((0.0, 0.0, 0.0), *angles, rng.uniform(-20, 20, 3).tolist())


@pytest.fixture(scope="module", params=[1, 2])
def pair(request):
    """Planning and follow-up MR, and the true map of planning points onto follow-up points."""
    spec = PhantomSpec(seed=77, patient=request.param, columns=116, rows=136, slices=80, spacing_mm=(1.7, 1.5, 2.0))
    rng = np.random.default_rng([77, request.param])
    patient = replace(sample_patient(spec), follow_up_to_head=pose(rng))
    grid = planning_grid(patient)
    planning = sitk.Cast(render_mr(patient, grid), sitk.sitkFloat32)
    follow_up = disturbed(render_mr(patient, grid, follow_up=True), rng)
    truth = as_matrix(sitk.CompositeTransform([patient.follow_up_to_head.GetInverse(), patient.to_head]))
    middle = np.asarray(patient.to_head.GetInverse().TransformPoint((0.0, 0.0, 0.0)))
    return planning, follow_up, truth, middle


def errors(found, truth, middle):
    return np.linalg.norm(moved_points(found, middle + POINTS) - moved_points(truth, middle + POINTS), axis=1)


@pytest.mark.slow
def test_a_moved_head_is_found_again(pair):
    planning, follow_up, truth, middle = pair
    found = register_rigidly(planning, follow_up)
    error = errors(found.to_follow_up, truth, middle)
    assert np.median(error) < 0.25
    assert error.max() < 0.6
    assert found.disagreement_mm < 0.5
    assert found.similarity > 0.8
    assert found.warnings == ()
    np.testing.assert_allclose(found.to_plan @ found.to_follow_up, np.eye(4), atol=1e-9)


@pytest.mark.slow
def test_a_transform_of_the_users_is_taken_and_judged(pair):
    planning, follow_up, truth, _ = pair
    good = accept_transform(planning, follow_up, matrix=truth, method="manual")
    assert good.similarity > 0.8
    assert good.warnings == ()
    off = truth.copy()
    off[:3, 3] += (12, -9, 7)
    bad = accept_transform(planning, follow_up, matrix=off, method="manual")
    assert [c.code for c in bad.warnings] == ["weak-registration"]
    with pytest.raises(GeometryError, match="not rigid"):
        accept_transform(planning, follow_up, matrix=np.diag([1.1, 1, 1, 1.0]), method="manual")
    away = truth.copy()
    away[:3, 3] += 400
    with pytest.raises(GeometryError, match="covers only 0 %"):
        accept_transform(planning, follow_up, matrix=away, method="manual")


@pytest.mark.slow
def test_what_is_no_head_is_refused():
    spec = PhantomSpec(seed=77, columns=70, rows=80, slices=50, spacing_mm=(2.8, 2.6, 3.2))
    patient = sample_patient(spec)
    planning = sitk.Cast(render_mr(patient, planning_grid(patient)), sitk.sitkFloat32)
    follow_up = planning
    noise = np.random.default_rng(5).normal(500, 100, Grid.of(follow_up).shape).astype(np.float32)
    with pytest.raises(GeometryError, match=r"the follow-up"):
        register_rigidly(planning, Grid.of(follow_up).image(noise))


def test_transform_files_are_read_and_refused(tmp_path):
    euler = sitk.Euler3DTransform((7.0, -3.0, 2.0), 0.1, -0.2, 0.05, (3.0, -4.0, 5.0))
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(euler.GetMatrix())
    affine.SetCenter(euler.GetCenter())
    affine.SetTranslation(euler.GetTranslation())
    versor = sitk.VersorRigid3DTransform((0.1, 0.7, -0.2), 0.3, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    for name, transform in (("a.tfm", euler), ("b.txt", affine), ("c.tfm", versor)):
        sitk.WriteTransform(transform, str(tmp_path / name))
        np.testing.assert_allclose(read_transform(tmp_path / name), as_matrix(transform), atol=1e-9)
    affine.SetMatrix((np.eye(3) * 1.1).ravel().tolist())
    sitk.WriteTransform(affine, str(tmp_path / "scale.tfm"))
    with pytest.raises(GeometryError, match="not a rigid transform"):
        read_transform(tmp_path / "scale.tfm")
    for name, text in (("bad.tfm", "no transform"), ("none.h5", ""), ("odd.tfm", "Transform: Spline_double_3_3")):
        (tmp_path / name).write_text(text)
        with pytest.raises(GeometryError, match="cannot be read as a transform"):
            read_transform(tmp_path / name)


def test_moving_an_image_moves_its_points():
    matrix = as_matrix(sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.3, -0.2, 0.5, (3.0, -4.0, 5.0)))
    assert is_rigid(matrix)
    image = Grid((4, 5, 6), (1.0, 2.0, 3.0), (1.0, 2.0, 3.0)).image(np.zeros((6, 5, 4), np.float32))
    index = (1, 2, 3)
    before = np.asarray(image.TransformIndexToPhysicalPoint(index))
    after = moved_image(matrix, image).TransformIndexToPhysicalPoint(index)
    np.testing.assert_allclose(after, moved_points(matrix, before), atol=1e-6)


def test_the_head_mask_holds_the_head(pair):
    planning, *_, middle = pair
    mask = head_mask(planning)
    assert mask[planning.TransformPhysicalPointToIndex(middle.tolist())] == 1
    assert mask[2, 2, 2] == 0
    assert 0.1 < sitk.GetArrayViewFromImage(mask).mean() < 0.7


@pytest.mark.samples
@pytest.mark.slow
def test_a_real_head_is_found_again(samples):
    head = sitk.ReadImage(
        str(samples / "mni152" / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"), sitk.sitkFloat32
    )
    rng = np.random.default_rng(3)
    truth = as_matrix(pose(rng))
    moved = moved_image(truth, head)
    other = Grid((180, 210, 170), (1.1, 1.1, 1.1), (-105.0, -115.0, -85.0))
    follow_up = disturbed(sitk.Resample(moved, other.blank(), sitk.Transform(), sitk.sitkBSpline3, 0.0), rng)
    found = register_rigidly(head, follow_up)
    error = errors(found.to_follow_up, truth, np.asarray([0.0, 10.0, 15.0]))
    assert np.median(error) < 0.25
    assert error.max() < 0.6
