"""Contours to voxels against exact areas, analytic bodies and the edge cases that break other readers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.coverage import pixel_centers_inside, pixel_coverage
from RTResponseCAMLib.imaging.fraction import (
    _is_parallel,
    _slices_of,
    body_corners,
    box_fraction,
    fraction_inside,
    mask,
    structure_box,
)
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.planes import contour_volume_cc, stack_planes
from RTResponseCAMLib.study import Structure

GRID = Grid((44, 44, 44), (1.0, 1.0, 1.0), (-21.5, -21.5, -22.0))


def circle(radius, z, center=(0.0, 0.0), count=180):
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    x, y = center[0] + radius * np.cos(angle), center[1] + radius * np.sin(angle)
    return np.column_stack([x, y, np.full(count, z)])


def sphere(volume_cc, step=1.0, phase=0.0, tilt_deg=0.0, center=(0.31, -0.22, 0.0)):
    radius = (volume_cc * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
    turn = np.radians(tilt_deg)
    matrix = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    heights = (np.arange(-60, 61) + phase) * step
    rings = [circle(np.sqrt(radius**2 - z**2), z) @ matrix.T + center for z in heights if abs(z) < radius]
    return radius, Structure(1, "sphere", "GTV", tuple(rings))


def ellipsoid(volume_cc, tilt_deg, step, center=(0.31, -0.22, 0.4)):
    radius = (volume_cc * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
    axes = radius * np.array([1.0, 1.3, 0.8]) / np.prod([1.0, 1.3, 0.8]) ** (1 / 3)
    turn = np.radians(tilt_deg)
    matrix = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    heights = (np.arange(-60, 61) + 0.3) * step
    rings = [
        (circle(np.sqrt(1 - (z / axes[2]) ** 2), 0.0) * [axes[0], axes[1], 1] + [0, 0, z]) @ matrix.T + center
        for z in heights
        if abs(z) < axes[2]
    ]
    structure = Structure(1, "ellipsoid", "GTV", tuple(rings))
    return structure, lambda points: np.linalg.norm((points - center) @ matrix / axes, axis=-1) <= 1


def cylinder(radius, planes, extra=()):
    return Structure(1, "cylinder", "GTV", tuple(circle(radius, z) for z in planes) + tuple(extra))


def drawn_cc(structure, step=1.0):
    """Area × distance of the planes, without any of the library's arithmetic; no holes, nothing missing."""
    areas = [
        np.linalg.norm(np.cross(c - c[0], np.roll(c - c[0], -1, axis=0)).sum(axis=0)) / 2 for c in structure.contours
    ]
    return sum(areas) * step / 1000


def volume(structure, grid=GRID):
    return float(fraction_inside(structure, grid).sum(dtype=np.float64)) * grid.voxel_cc


@pytest.mark.parametrize("volume_cc", [0.02, 0.1, 0.5, 2.0, 10.0])
@pytest.mark.parametrize("phase", [0.0, 0.3, 0.5])
def test_volume_equals_that_of_the_contours(volume_cc, phase):
    _, structure = sphere(volume_cc, phase=phase)
    assert volume(structure) == pytest.approx(drawn_cc(structure), rel=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("volume_cc", [0.1, 0.3, 2.0, 20.0])
@pytest.mark.parametrize("phase", np.arange(0, 1, 0.125))
def test_contours_every_mm_give_the_bodys_volume_to_one_percent(volume_cc, phase):
    _, structure = sphere(volume_cc, phase=phase)
    assert volume(structure) == pytest.approx(volume_cc, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("spacing", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("volume_cc", [0.02, 0.1, 1.0, 20.0])
def test_volume_stays_within_half_a_percent_of_area_times_distance(volume_cc, spacing):
    radius, structure = sphere(volume_cc, phase=0.4)
    heights = (np.arange(-60, 61) + 0.4)[:, None]
    plain = np.sum(np.pi * np.maximum(radius**2 - heights**2, 0)) * 180 / (2 * np.pi) * np.sin(2 * np.pi / 180)
    count = int(44 / spacing)
    grid = Grid((count,) * 3, (spacing,) * 3, (-21.7, -21.9, -22.0))
    assert volume(structure, grid) == pytest.approx(plain / 1000, rel=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("step", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("tilt_deg", [0.0, 7.0, 30.0, 90.0])
@pytest.mark.parametrize("volume_cc", [0.2, 1.0, 10.0])
def test_tilted_and_sparse_planes_give_the_bodys_voxels(volume_cc, tilt_deg, step):
    """Ellipsoids 1 : 1.3 : 0.8, contours off the slices; dice of voxel centers against the body itself."""
    structure, inside = ellipsoid(volume_cc, tilt_deg, step)
    found = mask(structure, GRID)
    truth = inside(GRID.points())
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) >= 0.99


@pytest.mark.parametrize("spacing", [0.5, 1.0, 2.0])
def test_volume_does_not_depend_on_the_grid(spacing):
    _, structure = sphere(0.5)
    count = int(44 / spacing)
    grid = Grid((count,) * 3, (spacing,) * 3, (-21.7, -21.9, -22.0))
    assert volume(structure, grid) == pytest.approx(drawn_cc(structure), rel=0.005)


@pytest.mark.parametrize(("step", "phase"), [(1.0, 0.0), (0.5, 0.5)])  # on the slices, and between them
def test_contours_on_tilted_slices_fill_what_they_fill_on_axial_ones(step, phase):
    turn = np.radians(20.0)
    matrix = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    tilted = Grid(GRID.size, GRID.spacing_mm, tuple(matrix @ GRID.origin_mm), tuple(matrix.ravel()))
    (_, axial), (_, turned) = (sphere(1.0, step, phase, tilt_deg, (0, 0, 0)) for tilt_deg in (0.0, 20.0))
    np.testing.assert_allclose(fraction_inside(turned, tilted), fraction_inside(axial, GRID), atol=2e-3)


def test_every_contour_has_its_planes_faces_among_the_corners_of_the_body():
    structure, _ = ellipsoid(1.0, 30.0, 1.0)
    stack = stack_planes(structure)
    corners = cKDTree(body_corners(stack))
    for contour in structure.contours[1:-1]:
        for side in (-0.5, 0.5):
            apart, _ = corners.query(contour + side * stack.axes[2])
            assert apart.max() < 1e-6


@pytest.mark.parametrize("tilt_deg", [5.0, 20.0, 45.0])
def test_tilted_planes_keep_volume_and_place(tilt_deg):
    radius, structure = sphere(2.0, tilt_deg=tilt_deg)
    found = fraction_inside(structure, GRID)
    shifts = (np.stack(np.meshgrid(*[np.arange(4)] * 3), axis=-1).reshape(-1, 3) + 0.5) / 4 - 0.5
    points = GRID.points() - (0.31, -0.22, 0.0)
    truth = np.mean([np.linalg.norm(points + shift, axis=-1) <= radius for shift in shifts], axis=0)
    assert volume(structure) == pytest.approx(drawn_cc(structure), rel=0.005)
    soft_dice = 2 * np.minimum(found, truth).sum() / (found.sum() + truth.sum())
    assert soft_dice > 0.99


def test_the_slab_of_contours_every_second_slice_fills_the_slices_between():
    assert volume(cylinder(8.0, np.arange(-9.0, 10.0, 2.0))) == pytest.approx(np.pi * 64 * 20 / 1000, rel=0.002)


def test_contours_between_slices_keep_their_volume():
    structure = cylinder(8.0, np.arange(-9.6, 10.0, 1.0))
    assert volume(structure) == pytest.approx(np.pi * 64 * 20 / 1000, rel=0.002)


def test_contours_twice_per_slice_are_not_counted_twice():
    structure = cylinder(8.0, np.arange(-9.75, 10.0, 0.5))
    assert volume(structure) == pytest.approx(np.pi * 64 * 20 / 1000, rel=0.002)


def test_a_second_contour_inside_is_a_hole():
    structure = cylinder(8.0, np.arange(-5.0, 6.0), [circle(4.0, z) for z in np.arange(-5.0, 6.0)])
    assert volume(structure) == pytest.approx(np.pi * (64 - 16) * 11 / 1000, rel=0.002)
    assert mask(structure, GRID)[22, 21, 21] == 0


def test_a_keyhole_is_a_hole():
    rings = []
    for z in np.arange(-5.0, 6.0):
        outer, inner = circle(8.0, z), circle(4.0, z)[::-1]
        rings.append(np.concatenate([outer, outer[:1], inner[-1:], inner, outer[:1]]))
    structure = Structure(1, "keyhole", "GTV", tuple(rings))
    assert volume(structure) == pytest.approx(np.pi * (64 - 16) * 11 / 1000, rel=0.005)


def test_two_islands_on_a_slice_add_up():
    rings = [circle(5.0, z, (x, 0.0)) for z in np.arange(-5.0, 6.0) for x in (-10.0, 10.0)]
    assert volume(Structure(1, "islands", "GTV", tuple(rings))) == pytest.approx(2 * np.pi * 25 * 11 / 1000, rel=0.002)


def test_outlines_that_cross_follow_the_even_odd_rule():
    """Two circles of 8 mm, 8 mm apart: what they share is outside, in the volume as in the voxels."""
    planes = np.arange(-5.0, 6.0)
    structure = cylinder(8.0, planes, [circle(8.0, z, (8.0, 0.0)) for z in planes])
    shared = 2 * 64 * np.arccos(0.5) - 4 * np.sqrt(4 * 64 - 64)
    expected = (2 * np.pi * 64 - 2 * shared) * 11 / 1000
    assert contour_volume_cc(structure) == pytest.approx(expected, rel=0.005)
    assert volume(structure) == pytest.approx(expected, rel=0.005)
    assert mask(structure, GRID).sum() / 1000 == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("kind", ["hole", "islands"])
def test_tilted_contours_with_rounded_points_stay_in_their_plane(kind):
    turn = np.radians(30)
    matrix = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    planes = np.arange(-6.0, 7.0)
    if kind == "hole":
        rings = [circle(r, z) for z in planes for r in (9.0, 4.0)]
        expected = np.pi * (81 - 16) * 13 / 1000
    else:
        rings = [circle(4.0, z, (x, 0.0)) for z in planes for x in (-8.0, 8.0)]
        expected = 2 * np.pi * 16 * 13 / 1000
    rounded = Structure(1, kind, "GTV", tuple(np.round(ring @ matrix.T, 1) for ring in rings))
    assert len(stack_planes(rounded).offsets_mm) == 13
    assert volume(rounded) == pytest.approx(expected, rel=0.01)


def test_planes_that_nearly_touch_are_not_cut_from_one_another():
    """Contours of real exports lie 0.02 mm to 1.3 mm apart."""
    heights = np.concatenate([np.arange(-6.0, 7.0), np.arange(-6.0, 7.0) + 0.05])
    assert contour_volume_cc(cylinder(8.0, heights)) == pytest.approx(np.pi * 64 * 13.05 / 1000, rel=0.05)


def test_a_stray_contour_far_away_is_refused_by_name():
    structure = cylinder(8.0, [0.0, 1.0, 2.0], [circle(8.0, 1.0, (4000.0, 4000.0)), circle(8.0, 3000.0)])
    with pytest.raises(GeometryError, match=r"ROI 1 'cylinder'.*lies far from the others"):
        fraction_inside(structure, GRID)


def test_a_contour_given_twice_counts_once():
    planes = np.arange(-5.0, 6.0)
    structure = cylinder(7.0, planes, [circle(7.0, z) for z in planes])
    assert volume(structure) == pytest.approx(np.pi * 49 * 11 / 1000, rel=0.002)


def test_a_structure_smaller_than_a_voxel_keeps_its_volume():
    structure = Structure(1, "tiny", "GTV", (circle(0.45, 0.0), circle(0.45, 1.0)))
    assert volume(structure) == pytest.approx(np.pi * 0.45**2 * 2 / 1000, rel=0.01)


def test_a_lost_slice_is_flagged_and_not_bridged():
    planes = np.delete(np.arange(-5.0, 6.0), 5)
    structure = cylinder(8.0, planes)
    assert [c.code for c in stack_planes(structure).warnings] == ["contour-gap"]
    assert volume(structure) == pytest.approx(np.pi * 64 * 10 / 1000, rel=0.002)


def test_an_oblique_grid_sees_the_same_volume():
    _, structure = sphere(1.0)
    turn = np.radians(8.0)
    direction = (1, 0, 0, 0, np.cos(turn), -np.sin(turn), 0, np.sin(turn), np.cos(turn))
    grid = Grid((44, 44, 44), (1, 1, 1), (-21.5, -18.5, -25.0), direction)
    assert volume(structure, grid) == pytest.approx(drawn_cc(structure), rel=0.005)


def test_parts_beyond_the_grid_are_cut():
    structure = cylinder(8.0, np.arange(-60.0, 61.0))
    assert volume(structure) == pytest.approx(np.pi * 64 * 44 / 1000, rel=0.002)


def test_crossed_planes_are_refused_by_name():
    upright = circle(5.0, 0.0)[:, [2, 0, 1]]
    with pytest.raises(GeometryError, match=r"ROI 3 'crossed'.*tilted"):
        stack_planes(Structure(3, "crossed", "GTV", (circle(5.0, 0.0), upright)))


def test_coverage_of_a_half_covered_pixel_is_one_half():
    square = np.array([[0.0, -0.5], [3.5, -0.5], [3.5, 2.5], [0.0, 2.5]])
    np.testing.assert_allclose(pixel_coverage([square], 5, rows=3), [[0.5, 1, 1, 1, 0]] * 3, atol=1e-12)


def test_a_pixel_center_on_the_left_edge_is_inside_and_on_the_right_edge_outside():
    square = np.array([[1.0, -0.5], [3.0, -0.5], [3.0, 1.5], [1.0, 1.5]])
    np.testing.assert_array_equal(pixel_centers_inside([square], 5, rows=2), [[0, 1, 1, 0, 0]] * 2)


def test_parts_far_from_each_other_keep_their_volumes_whole():
    """Each part is sampled in a box of its own, whose last planes count like its first."""
    from bodies import ball, cc

    from RTResponseCAMLib.imaging.fraction import fraction_inside as fractions_of

    one, other = ball(4.3, np.asarray([-12.2, 0.3, 0.1])), ball(3.1, np.asarray([11.7, -2.4, 3.3]))
    both = Structure(1, "GTV", "GTV", (*one.contours, *other.contours))
    for step in (0.8, 1.0, 1.7):
        grid = Grid((int(60 / step),) * 3, (step,) * 3, (-29.6, -29.7, -29.8))
        found = fractions_of(both, grid)
        left = grid.points()[..., 0] < 0
        for side, structure in ((left, one), (~left, other)):
            own = fractions_of(structure, grid)
            np.testing.assert_allclose(found[side], own[side], atol=1e-5)
        assert found.sum() * grid.voxel_cc == pytest.approx(cc(4.3) + cc(3.1), rel=0.03)


def two_balls(offset):
    first, second = sphere(0.4, center=(offset - 9.0, offset, offset))[1], sphere(0.3, center=(9.0, 6.0, 5.0))[1]
    return first, second, Structure(1, "both", "GTV", first.contours + second.contours)


@pytest.mark.parametrize("offset", [0.0, 0.25, 0.45, 0.7, 0.9])
def test_parts_of_a_structure_have_the_fractions_of_each_alone(offset):
    first, second, both = two_balls(offset)
    expected = box_fraction(first, GRID) + box_fraction(second, GRID)
    np.testing.assert_allclose(box_fraction(both, GRID), expected, atol=0.02)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("side", [-1, 1])
def test_of_a_structure_that_the_grid_cuts_in_half_half_is_counted(axis, side):
    _, structure = sphere(2.0, center=(0.0, 0.0, 0.0))
    size, origin = [44, 44, 44], [-21.5, -21.5, -21.5]
    size[axis] = 22
    origin[axis] = 0.5 if side > 0 else -21.5
    grid = Grid(tuple(size), (1.0, 1.0, 1.0), tuple(origin))
    assert volume(structure, grid) == pytest.approx(1.0, rel=0.02)


def test_the_box_of_a_structure_is_one_voxel_wider_than_it():
    _, structure = sphere(2.0, center=(5.3, 4.2, -6.1))
    corners = GRID.to_index(body_corners(stack_planes(structure)))
    box = structure_box(structure, GRID)
    start = np.asarray(GRID.start_of(box))
    np.testing.assert_array_equal(start, np.floor(corners.min(axis=0)) - 1)
    np.testing.assert_array_equal(start + box.size - 1, np.ceil(corners.max(axis=0)) + 1)


@pytest.mark.parametrize(("tilt_deg", "parallel"), [(0.0, True), (0.2, True), (0.6, False), (5.0, False)])
def test_planes_are_parallel_while_they_drift_less_than_a_tenth_of_a_slice(tilt_deg, parallel):
    """A ball of 16 mm drifts 0.06 mm at 0.2° and 0.17 mm at 0.6°."""
    radius, structure = sphere(2.2, tilt_deg=tilt_deg)
    assert 2 * radius == pytest.approx(16.1, abs=0.1)
    assert _is_parallel(stack_planes(structure), GRID) is parallel


def test_corners_reach_a_whole_step_beyond_the_outermost_planes():
    corners = body_corners(stack_planes(cylinder(5.0, (0.0, 1.0, 2.0, 3.0))))
    assert corners[:, 2].min() == pytest.approx(-1.0)
    assert corners[:, 2].max() == pytest.approx(4.0)
    corners = body_corners(stack_planes(cylinder(5.0, (0.0, 2.0, 4.0))))
    assert (corners[:, 2].min(), corners[:, 2].max()) == (pytest.approx(-2.0), pytest.approx(6.0))
    assert np.abs(corners[:, :2]).max() == pytest.approx(5.0, abs=0.01)


def test_a_box_along_the_voxels_fills_them_wholly_and_others_not_at_all():
    square = np.asarray([[-3.0, -2.0], [3.0, -2.0], [3.0, 2.0], [-3.0, 2.0]])
    box = Structure(1, "box", "GTV", tuple(np.column_stack([square, np.full(4, z)]) for z in (-1.0, 0.0, 1.0)))
    with np.errstate(all="raise"):
        found = fraction_inside(box, GRID)
    assert set(np.unique(found).tolist()) == {0.0, 1.0}
    assert found.sum() == 6 * 4 * 3


@pytest.mark.parametrize("slices", [5, 6, 7, 8])
def test_islands_of_any_height_beside_one_beyond_the_grid_have_their_fractions(slices):
    beyond = tuple(circle(4.0, float(z), (-60.0, 0.0)) for z in range(-3, 4))
    flat = tuple(circle(4.0, float(z), (-8.0, 3.0)) for z in range(3))
    tall = tuple(circle(4.0, float(z), (9.0, -4.0)) for z in range(-4, slices - 4))
    together = box_fraction(Structure(1, "islands", "GTV", (*beyond, *flat, *tall)), GRID)
    alone = [box_fraction(Structure(1, "island", "GTV", contours), GRID) for contours in (flat, tall)]
    np.testing.assert_allclose(together, alone[0] + alone[1], atol=1e-6)


def test_the_mask_of_dense_planes_between_slices_is_where_half_of_a_voxel_is_inside():
    dense = cylinder(7.0, np.arange(-5.2, 5.0, 0.5))
    fraction = fraction_inside(dense, GRID)
    assert (mask(dense, GRID) == (fraction >= 0.5)).mean() > 0.9995
    assert mask(dense, GRID).sum() == pytest.approx(contour_volume_cc(dense) * 1000, rel=0.08)


@pytest.mark.parametrize(
    ("planes", "slices"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3]),
        ([4], [4]),
        ([0, 1, 3, 4], [0, 1, 3, 4]),  # a lost slice
        ([0, 2, 4], None),  # every second slice: each plane stands for two
        ([0.0, 0.06, 1.0, 2.0], None),  # two planes on one slice
        ([0.2, 1.2, 2.2], None),  # between the slices
    ],
)
def test_planes_belong_to_slices_if_each_lies_on_one_of_its_own(planes, slices):
    stack = stack_planes(Structure(1, "rings", "GTV", tuple(circle(6.0, float(z) - 22.0) for z in planes)))
    found = _slices_of(stack, GRID)
    assert (None if found is None else found.tolist()) == slices


def test_a_slab_within_a_slice_fills_its_share_of_it():
    """Dense planes from k = 20.1 to 22.6: nothing is filled twice, and the ends in part."""
    dense = cylinder(9.0, np.arange(-1.65, 0.36, 0.5))
    fraction = fraction_inside(dense, GRID)[:, 21, 21]
    edges = stack_planes(dense).slabs_mm[[0, -1], [0, 1]] + 22.0
    expected = np.clip(np.minimum(edges[1], np.arange(44) + 0.5) - np.maximum(edges[0], np.arange(44) - 0.5), 0, 1)
    np.testing.assert_allclose(fraction, expected, atol=0.02)
