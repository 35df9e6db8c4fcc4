"""A point in the patient is the same point in the patch, and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from bodies import ball

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.patch import MAX_SIZE, MIN_SIZE, Patch, patch_grid, sample_patch
from RTResponseCAMLib.imaging.planes import centroid_mm
from RTResponseCAMLib.imaging.resample import HeadIntensity, head_intensity, resample
from RTResponseCAMLib.study import Dose

RAMP = np.array([0.7, -1.3, 2.1])


def ramp_image(grid: Grid) -> sitk.Image:
    """Intensity is a linear function of the LPS position, so that every value tells where it was taken."""
    return grid.image((grid.points() @ RAMP).astype(np.float32))


def oblique() -> Grid:
    turn = np.radians(11.0)
    direction = (np.cos(turn), -np.sin(turn), 0, np.sin(turn), np.cos(turn), 0, 0, 0, 1)
    return Grid((90, 80, 60), (1.1, 0.9, 1.7), (-40.3, -52.1, -48.7), direction)


def test_a_point_in_is_the_same_point_out():
    grid = oblique()
    points = np.random.default_rng(1).uniform(-60, 60, (50, 3))
    assert np.abs(grid.to_lps(grid.to_index(points)) - points).max() < 1e-9


def test_patch_voxels_hold_the_intensity_of_their_own_place(study):
    lesion = study.lesions[0].structure
    head = HeadIntensity(0.0, 1.0)
    center = patch_grid(lesion).to_lps(np.array([[11.5, 11.5, 11.5]]))[0]
    base = oblique()
    x, y, z = (center - (base.to_lps(np.array([[44.5, 39.5, 29.5]]))[0] - base.origin_mm)).tolist()
    grid = Grid(base.size, base.spacing_mm, (x, y, z), base.direction)
    patch = sample_patch(ramp_image(grid), head, structure=lesion, dose=None, prescription_gy=None)
    expected = patch.grid.points() @ RAMP
    inside = patch.fraction > 0
    # 0.01 mm along the ramp's steepest direction
    assert np.abs(patch.mr - expected)[inside].max() < 0.01 * np.linalg.norm(RAMP)


def offset_to_mr_voxels(patch: Grid, mr: Grid) -> np.ndarray:
    """How far the patch's middle voxel lies from the nearest voxel of the MR, mm along the MR's axes."""
    middle = patch.to_lps(np.asarray([patch.size]) // 2)
    index = mr.to_index(middle)[0]
    return np.abs(index - np.rint(index)) * mr.spacing_mm


AXIAL, SAGITTAL = (1, 0, 0, 0, 1, 0, 0, 0, 1), (0, 0, 1, 1, 0, 0, 0, 1, 0)


@pytest.mark.parametrize("direction", [AXIAL, SAGITTAL])
def test_patch_voxels_are_the_mrs_own_where_these_are_as_fine(study, direction):
    lesion = study.lesions[0].structure
    middle = np.asarray(centroid_mm(lesion))
    rng = np.random.default_rng(4)
    flat = Grid((60, 60, 60), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), direction)
    corner = middle - flat.to_lps(np.asarray([[30, 30, 30]]))[0] + rng.uniform(-0.5, 0.5, 3)
    grid = Grid(flat.size, flat.spacing_mm, tuple(corner.tolist()), direction)
    image = grid.image(rng.normal(size=grid.shape).astype(np.float32))
    patch = sample_patch(image, HeadIntensity(0.0, 1.0), structure=lesion, dose=None, prescription_gy=None)
    found = sitk.GetArrayFromImage(
        sitk.Resample(image, patch.grid.blank(), sitk.Transform(), sitk.sitkNearestNeighbor, 0.0)
    )
    np.testing.assert_allclose(patch.mr, found, atol=1e-4)
    center = patch.grid.to_lps((np.asarray([patch.grid.size]) - 1) / 2)[0]
    assert np.abs(center - middle).max() <= 0.5 + 1e-9


def test_a_patch_is_laid_on_fine_voxels_and_left_alone_by_thick_slices_and_tilted_ones(study):
    lesion = study.lesions[0].structure
    free = patch_grid(lesion)
    thick = Grid((60, 60, 20), (0.9, 1.0, 3.0), (-40.3, -52.1, -48.7))
    laid = patch_grid(lesion, thick)
    moved = np.asarray(laid.origin_mm) - free.origin_mm
    assert offset_to_mr_voxels(laid, thick)[:2] == pytest.approx(0, abs=1e-9)
    assert (np.abs(moved) <= np.asarray([0.45, 0.5, 0]) + 1e-9).all()
    assert laid.size == free.size
    turn = np.radians(6.0)
    tilt = (1, 0, 0, 0, np.cos(turn), -np.sin(turn), 0, np.sin(turn), np.cos(turn))
    tilted = Grid((60, 60, 60), (1.0, 1.0, 1.0), (-40.3, -52.1, -48.7), tilt)
    moved = np.asarray(patch_grid(lesion, tilted).origin_mm) - free.origin_mm
    assert abs(moved[0]) > 0
    assert moved[1:] == pytest.approx(0, abs=1e-9)


def test_occupancy_in_the_patch_has_the_lesions_volume_and_center(study):
    from RTResponseCAMLib.imaging.planes import contour_volume_cc

    head = head_intensity(study.mr)
    for lesion in study.lesions:
        patch = sample_patch(study.mr, head, structure=lesion.structure, dose=study.dose, prescription_gy=20.0)
        assert patch.fraction.sum() * patch.grid.voxel_cc == pytest.approx(
            contour_volume_cc(lesion.structure), rel=0.01
        )


def test_dose_channel_is_relative_to_the_prescription(study):
    grid = Grid((60, 60, 60), (3, 3, 3), (-90, -90, -90))
    dose = Dose(grid.image(np.full(grid.shape, 30.0, np.float32)), ())
    patch = sample_patch(
        study.mr, head_intensity(study.mr), structure=study.lesions[0].structure, dose=dose, prescription_gy=20.0
    )
    np.testing.assert_allclose(patch.dose, 1.5, rtol=1e-5)
    assert patch.has_dose


def test_a_dose_finer_than_the_grid_is_not_blurred():
    fine = Grid((81, 81, 81), (0.25, 0.25, 0.25), (-10, -10, -10))
    peak = np.exp(-(fine.points() ** 2).sum(-1) / 2).astype(np.float32)
    moved = resample(fine.image(peak), Grid((3, 3, 3), (1, 1, 1), (-1, -1, -1)))
    assert sitk.GetArrayFromImage(moved)[1, 1, 1] == pytest.approx(1.0, abs=1e-6)


def test_without_dose_the_channel_is_neutral(study):
    patch = sample_patch(
        study.mr, head_intensity(study.mr), structure=study.lesions[0].structure, dose=None, prescription_gy=None
    )
    assert (patch.dose == 1).all()
    assert not patch.has_dose


def test_sampling_far_outside_is_refused():
    image = ramp_image(Grid((20, 20, 20), (1, 1, 1), (0, 0, 0)))
    with pytest.raises(GeometryError, match="does not cover"):
        resample(image, Grid((5, 5, 5), (1, 1, 1), (200, 0, 0)))


def test_head_intensity_ignores_air_and_scales_with_the_image(study):
    once, twice = head_intensity(study.mr), head_intensity(study.mr * 2)
    assert twice.median == pytest.approx(2 * once.median, rel=1e-3)
    assert twice.iqr == pytest.approx(2 * once.iqr, rel=1e-3)
    assert once.median > float(np.median(sitk.GetArrayViewFromImage(study.mr)))


def test_a_constant_image_is_refused():
    with pytest.raises(GeometryError, match="one value only"):
        head_intensity(Grid((20, 20, 20), (1, 1, 1), (0, 0, 0)).image(np.ones((20, 20, 20), np.float32)))


@pytest.mark.parametrize(("spacing_mm", "expected"), [((1.7, 1.5, 2.0), 5.1), ((0.5, 0.5, 1.0), 1.0)])
def test_a_patch_knows_how_many_of_its_voxels_one_of_the_mr_fills(study, spacing_mm, expected):
    own = Grid.of(study.mr)
    size = tuple(int(n * a / b) for n, a, b in zip(own.size, own.spacing_mm, spacing_mm, strict=True))
    mr = resample(study.mr, Grid(size, spacing_mm, own.origin_mm, own.direction))
    patch = sample_patch(
        mr, HeadIntensity(0.0, 1.0), structure=study.lesions[0].structure, dose=None, prescription_gy=None
    )
    assert patch.mr_voxel_volume_ratio == pytest.approx(expected)


@pytest.mark.parametrize(("spacing_mm", "size"), [(1.0, 56), (2.0, 32), (0.5, 96)])
def test_the_cube_holds_lesion_and_margin_at_every_voxel_size(spacing_mm, size):
    """40 mm and 8 mm on each side are 56 mm: 56, 28 and 112 voxels, in multiples of 8 up to 96."""
    lesion = ball(20.0, (3.0, -2.0, 5.0))
    grid = patch_grid(lesion, spacing_mm=spacing_mm)
    assert (grid.size, grid.spacing_mm) == ((size,) * 3, (spacing_mm,) * 3)
    middle = grid.to_lps(np.full((1, 3), (size - 1) / 2))[0]
    np.testing.assert_allclose(middle, centroid_mm(lesion), atol=1e-9)


def test_the_error_of_a_lesion_without_a_middle_names_the_distance():
    grid = Grid((230, 40, 40), (1.0, 1.0, 1.0), (-115.0, -20.0, -20.0))
    apart = replace(
        ball(3.0, (-100.0, 0, 0)), contours=ball(3.0, (-100.0, 0, 0)).contours + ball(3.0, (100.0, 0, 0)).contours
    )
    with pytest.raises(GeometryError, match="96 mm"):
        sample_patch(
            ramp_image(grid), HeadIntensity(0.0, 1.0), structure=apart, dose=None, prescription_gy=None, spacing_mm=2.0
        )


def of(fraction, spacing=(1.0, 1.0, 1.0), mr_spacing=None) -> Patch:
    values = np.asarray(fraction, dtype=np.float32)
    grid = Grid(values.shape[::-1], spacing, (0.0, 0.0, 0.0))
    return Patch(grid, values, values, values, False, mr_spacing)


@pytest.mark.parametrize(
    ("mr_mm", "spacing", "ratio"),
    [((1.0, 1.0, 1.0), 1.0, 1.0), ((2.0, 1.0, 3.0), 1.0, 6.0), ((2.0, 2.0, 2.0), 0.5, 64.0),
     ((0.5, 0.5, 0.5), 1.0, 1.0),     (None, 0.5, 1.0), (None, 2.0, 1.0)],
)  # fmt: skip
def test_the_volume_ratio_is_that_of_mr_and_patch_voxels_and_one_at_least(mr_mm, spacing, ratio):
    assert of(np.ones((2, 2, 2)), (spacing,) * 3, mr_mm).mr_voxel_volume_ratio == pytest.approx(ratio)


def test_a_voxel_belongs_to_the_lesion_from_a_twentieth_or_half_of_the_fullest():
    assert of([[[0.04, 0.06, 1.0, 0.0]]]).inside.tolist() == [[[False, True, True, False]]]
    assert of([[[0.04, 0.03, 0.015, 0.0]]]).inside.tolist() == [[[True, True, False, False]]]


def test_the_smallest_cube_has_twenty_four_voxels_and_the_largest_ninety_six():
    assert patch_grid(ball(1.0)).size == (24, 24, 24)
    assert patch_grid(ball(60.0, step=2.0)).size == (96, 96, 96)
    assert (MIN_SIZE, MAX_SIZE) == (24, 96)


@pytest.mark.parametrize(("mr_mm", "aligned"), [(0.7, True), (1.04, True), (1.06, False), (1.9, False)])
def test_the_cube_lies_on_voxels_of_an_mr_that_is_not_coarser(mr_mm, aligned):
    mr = Grid((80, 80, 80), (mr_mm,) * 3, (-30.1, -29.7, -30.4))
    grid = patch_grid(ball(5.0), mr)
    index = mr.to_index(grid.to_lps(np.full((1, 3), grid.size[0] // 2)))[0]
    assert bool(np.abs(index - np.rint(index)).max() < 1e-6) is aligned
