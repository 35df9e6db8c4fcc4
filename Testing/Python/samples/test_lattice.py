"""The lattice of a lesion holds its whole body, so that another margin gives the same voxels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bodies import ball

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.planes import stack_planes
from RTResponseCAMLib.samples.lattice import LesionLattice, lesion_lattice


@pytest.mark.parametrize("radius_mm", [4.0, 6.0, 10.0])
@pytest.mark.parametrize("step_mm", [1.0, 2.0, 3.0, 4.0, 6.0])
def test_a_narrow_margin_gives_the_voxels_of_a_wide_one(radius_mm, step_mm):
    structure = ball(radius_mm, step=step_mm)
    stack = stack_planes(structure)
    one, other = (lesion_lattice(structure, stack, margin_mm=margin_mm) for margin_mm in (2.0, 12.0))
    for lattice in (one, other):
        assert float(lattice.share.sum()) == pytest.approx(stack.volume_mm3, rel=0.01)
    assert (one.share >= one.level).sum() == (other.share >= other.level).sum()
    np.testing.assert_allclose(np.sort(one.share[one.share > 0]), np.sort(other.share[other.share > 0]), atol=1e-4)


def test_voxels_count_from_one_half_or_less_where_none_is_half_filled():
    grid = Grid((3, 2, 1), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    share = np.asarray([[[0.1, 0.3, 0.2], [0.0, 0.1, 0.2]]], dtype=np.float32)
    assert LesionLattice(grid, share).level == pytest.approx(0.27)
    assert LesionLattice(grid, 3 * share).level == 0.5


def test_the_lattice_has_the_extent_of_a_lesion_that_is_longer_than_wide():
    body = ball(6.0, (3.0, -4.0, 5.0), scale=(1.0, 2.0, 1.5))
    lattice = lesion_lattice(body, stack_planes(body), margin_mm=3.0)
    extent = np.ptp(np.concatenate(body.contours), axis=0)
    for size, needed in zip(lattice.grid.size, extent + 6.0, strict=True):
        assert needed + 1 <= size <= needed + 5
    points = lattice.grid.points().reshape(-1, 3)
    contours = np.concatenate(body.contours)
    assert (points.min(axis=0) <= contours.min(axis=0) - 3.0).all()
    assert (points.max(axis=0) >= contours.max(axis=0) + 3.0).all()
    assert lattice.share.sum() == pytest.approx(1000 * stack_planes(body).volume_mm3 / 1000, rel=0.01)


@pytest.mark.parametrize("up", [1, -1])
def test_axial_contours_lie_on_the_lattice_whichever_way_they_run(up):
    body = ball(6.0, (0.0, 0.0, 0.0))
    body = replace(body, contours=tuple(c[::up] for c in body.contours))
    lattice = lesion_lattice(body, stack_planes(body), margin_mm=3.3)
    z = np.asarray([c[0, 2] for c in body.contours])
    away = (z - lattice.grid.origin_mm[2]) % 1.0
    np.testing.assert_allclose(np.minimum(away, 1 - away), 0.0, atol=1e-6)


def test_a_lesion_whose_box_is_too_large_is_named_with_its_extent():
    left, right = ball(4.0, (-400.0, -400.0, 0.0)), ball(4.0, (400.0, 400.0, 0.0))
    far = replace(left, contours=left.contours + right.contours)
    with pytest.raises(GeometryError, match=r"spans 81\d × 81\d × 1\d mm, too much to sample at 1 mm"):
        lesion_lattice(far, stack_planes(far), margin_mm=3.0)


def test_the_lattice_begins_a_whole_number_of_steps_below_the_first_plane():
    """Planes at uneven distances: the voxels lie on the first one, not on the second."""
    rings = [np.column_stack([5 * np.cos(a), 5 * np.sin(a), np.full(60, z)]) for z in (0.3, 1.7, 3.1)
             for a in [np.linspace(0, 2 * np.pi, 60, endpoint=False)]]  # fmt: skip
    body = replace(ball(5.0), contours=tuple(rings))
    lattice = lesion_lattice(body, stack_planes(body), margin_mm=2.0)
    away = (0.3 - lattice.grid.origin_mm[2]) % 1.0
    assert min(away, 1 - away) == pytest.approx(0.0, abs=1e-6)
