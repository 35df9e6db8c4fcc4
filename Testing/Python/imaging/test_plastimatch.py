"""The voxel-center mask against plastimatch, an independent rasterizer, on a written study."""

from __future__ import annotations

import subprocess

import numpy as np
import SimpleITK as sitk
from peers import plastimatch

from RTResponseCAMLib.imaging.fraction import mask
from RTResponseCAMLib.imaging.grid import Grid


def test_masks_equal_plastimatchs_voxel_by_voxel(study, study_folder, tmp_path):
    command = [plastimatch(), "convert", "--input", str(study_folder / "dicom" / "plan_t1c" / "RS.dcm")]
    sitk.WriteImage(sitk.Cast(study.mr, sitk.sitkInt16), str(tmp_path / "mr.nrrd"))
    command += ["--fixed", str(tmp_path / "mr.nrrd"), "--output-prefix", str(tmp_path / "out")]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    found = {path.stem.replace("_", " "): path for path in (tmp_path / "out").iterdir()}
    for lesion in study.lesions:
        theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(found[lesion.structure.name])))
        ours = mask(lesion.structure, Grid.of(study.mr))
        assert ours.sum() > 0
        # A voxel center exactly on an edge may fall either way.
        assert np.count_nonzero((theirs > 0) != ours) <= 0.002 * ours.sum()
