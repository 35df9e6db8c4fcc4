"""The lattice of a lesion holds its whole body, so that another margin gives the same voxels."""

from __future__ import annotations

import numpy as np
import pytest
from bodies import ball

from RTResponseCAMLib.imaging.planes import stack_planes
from RTResponseCAMLib.samples.lattice import lesion_lattice


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
