"""Evidence goes back to the place in the patient from which it was taken."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from RTResponseCAMLib.cam.evidence import Evidence
from RTResponseCAMLib.cam.volume import evidence_volume
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.occupancy import occupancy
from RTResponseCAMLib.imaging.patch import sample_patch
from RTResponseCAMLib.imaging.planes import centroid_mm
from RTResponseCAMLib.imaging.resample import HeadIntensity

RAMP = np.array([0.7, -1.3, 2.1])


def test_a_map_that_tells_its_own_position_tells_the_position_of_the_mr_voxel(study):
    """Local evidence is a linear function of LPS in the patch; on the MR it must be the same function of LPS."""
    structures = [x.structure for x in study.lesions]
    patches = [sample_patch(study.mr, HeadIntensity(0, 1), s, None, None) for s in structures]
    evidences = []
    for patch in patches:
        weight = patch.occupancy / patch.occupancy.sum()
        share = ((patch.grid.points() @ RAMP) * weight).astype(np.float32)
        evidences.append(Evidence(share, share, 0.0, 0.0, float(share.sum()), 0.5, 0.4, 0.6))
    cam, _ = evidence_volume(Grid.of(study.mr), structures, patches, evidences, 0.0)
    values, points = sitk.GetArrayFromImage(cam), Grid.of(cam).points()
    for structure in structures:
        # Well inside, where no neighbour stands in for a voxel beyond the rim.
        share = occupancy(structure, Grid.of(cam))
        inside = share > 0.999
        assert inside.any()
        error = values[inside] - points[inside] @ RAMP
        assert abs(np.median(error)) < 0.01 * np.linalg.norm(RAMP)
        # At the rim a voxel says what it says by the part of it that is lesion, else what the lesion says.
        rim = (share >= 0.5) & (share < 0.9)
        assert rim.any()
        total = float(evidences[structures.index(structure)].total)
        drawn = (values[rim] - total) / (points[rim] @ RAMP - total)
        assert np.median(drawn - share[rim]) == pytest.approx(0, abs=0.03)


def test_a_patch_is_centred_on_its_lesion(study):
    for lesion in study.lesions:
        grid = sample_patch(study.mr, HeadIntensity(0, 1), lesion.structure, None, None).grid
        middle = grid.to_lps((np.asarray([grid.size]) - 1) / 2)[0]
        np.testing.assert_allclose(middle, centroid_mm(lesion.structure), atol=1e-9)
