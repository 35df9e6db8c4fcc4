"""Evidence goes back to the place in the patient from which it was taken."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.stats import norm

from RTResponseCAMLib.cam.volume import RIM_MM, evidence_volume, own_evidence_weight
from RTResponseCAMLib.imaging.fraction import fraction_inside
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.patch import sample_patch
from RTResponseCAMLib.imaging.planes import centroid_mm
from RTResponseCAMLib.imaging.resample import HeadIntensity
from RTResponseCAMLib.models.interface import LesionPrediction

RAMP = np.array([0.7, -1.3, 2.1])


def test_a_map_that_tells_its_own_position_tells_the_position_of_the_mr_voxel(study):
    """Local evidence is a linear function of LPS in the patch; on the MR it must be the same function of LPS."""
    structures = [x.structure for x in study.lesions]
    patches = [
        sample_patch(study.mr, HeadIntensity(0, 1), structure=s, dose=None, prescription_gy=None) for s in structures
    ]
    evidences = []
    for patch in patches:
        weight = patch.fraction / patch.fraction.sum()
        share = ((patch.grid.points() @ RAMP) * weight).astype(np.float32)
        evidences.append(LesionPrediction(0.5, 0.4, 0.6, float(share.sum()), share, share))
    cam, _ = evidence_volume(
        Grid.of(study.mr), structures, patches=patches, evidences=evidences, subregion_threshold=0.0
    )
    values, points = sitk.GetArrayFromImage(cam), Grid.of(cam).points()
    for structure in structures:
        # Well inside, where no neighbor stands in for a voxel beyond the rim.
        share = fraction_inside(structure, Grid.of(cam))
        own = own_evidence_weight(share, Grid.of(cam))
        inside = own > 0.995
        assert inside.any()
        error = values[inside] - points[inside] @ RAMP
        assert abs(np.median(error)) < 0.01 * np.linalg.norm(RAMP)
        # At the rim a voxel says what it says by the part of it that is its own, else what the lesion says.
        rim = (share >= 0.5) & (share < 0.9)
        assert rim.any()
        assert (own[rim] < share[rim]).all()
        total = float(evidences[structures.index(structure)].total)
        drawn = (values[rim] - total) / (points[rim] @ RAMP - total)
        assert np.median(drawn - own[rim]) == pytest.approx(0, abs=0.03)


def test_a_patch_is_centerd_on_its_lesion_where_the_mr_is_coarser(study):
    for lesion in study.lesions:
        grid = sample_patch(
            study.mr, HeadIntensity(0, 1), structure=lesion.structure, dose=None, prescription_gy=None
        ).grid
        middle = grid.to_lps((np.asarray([grid.size]) - 1) / 2)[0]
        np.testing.assert_allclose(middle, centroid_mm(lesion.structure), atol=1e-9)


def test_a_voxel_is_its_own_in_the_middle_and_half_where_the_outline_cuts_it():
    """Along a flat surface the blurred occupancy at depth d is Φ(d / 0.6 mm), whatever the voxels' spacing."""
    for spacing in ((1.0, 1.0, 1.0), (0.5, 1.0, 2.0)):
        grid = Grid((40, 20, 20), spacing, (0.0, 0.0, 0.0))
        occupancy_ = np.zeros(grid.shape, dtype=np.float32)
        occupancy_[:, :, 20:] = 1
        own = own_evidence_weight(occupancy_, grid)[10, 10]
        depth_mm = (np.arange(20, 40) - 19.5) * spacing[0]
        assert own[:20].max() == 0
        assert own[30] == pytest.approx(1, abs=1e-3)
        np.testing.assert_allclose(own[20:32], np.sqrt(norm.cdf(depth_mm[:12] / RIM_MM)), atol=0.04)
