"""Radiomics agree with IBSI-1's reference values, and an absent pyradiomics is said, not hidden."""

from __future__ import annotations

import builtins
import csv

import numpy as np
import pytest
import SimpleITK as sitk
from bodies import ball

from RTResponseCAMLib.errors import GeometryError, RTResponseError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.resample import HeadIntensity
from RTResponseCAMLib.samples import radiomics
from RTResponseCAMLib.study import Dose

HERE = radiomics.why_unavailable() is None
needs_pyradiomics = pytest.mark.skipif(not HERE, reason="pyradiomics is absent (make radiomics)")
GRID = Grid((60, 60, 60), (1.0, 1.0, 1.0), (-29.5, -29.5, -29.5))
HEAD = HeadIntensity(100.0, 20.0)

# pyradiomics' name → IBSI's tag. Its kurtosis is larger by 3; its variance, energies and axes follow IBSI.
IBSI = {
    "shape_MeshVolume": "morph_volume", "shape_VoxelVolume": "morph_vol_approx", "shape_SurfaceArea": "morph_area_mesh",
    "shape_SurfaceVolumeRatio": "morph_av", "shape_Sphericity": "morph_sphericity",
    "shape_Maximum3DDiameter": "morph_diam", "shape_MajorAxisLength": "morph_pca_maj_axis",
    "shape_Elongation": "morph_pca_elongation", "shape_Flatness": "morph_pca_flatness",
    "firstorder_Mean": "stat_mean", "firstorder_Variance": "stat_var", "firstorder_Skewness": "stat_skew",
    "firstorder_Median": "stat_median", "firstorder_Minimum": "stat_min", "firstorder_10Percentile": "stat_p10",
    "firstorder_90Percentile": "stat_p90", "firstorder_Maximum": "stat_max",
    "firstorder_InterquartileRange": "stat_iqr", "firstorder_Range": "stat_range",
    "firstorder_MeanAbsoluteDeviation": "stat_mad", "firstorder_RobustMeanAbsoluteDeviation": "stat_rmad",
    "firstorder_Energy": "stat_energy", "firstorder_RootMeanSquared": "stat_rms",
    "firstorder_Entropy": "ih_entropy", "firstorder_Uniformity": "ih_uniformity",
    "glcm_MaximumProbability": "cm_joint_max_3D_avg", "glcm_JointAverage": "cm_joint_avg_3D_avg",
    "glcm_SumSquares": "cm_joint_var_3D_avg", "glcm_JointEntropy": "cm_joint_entr_3D_avg",
    "glcm_DifferenceAverage": "cm_diff_avg_3D_avg", "glcm_DifferenceVariance": "cm_diff_var_3D_avg",
    "glcm_DifferenceEntropy": "cm_diff_entr_3D_avg", "glcm_SumEntropy": "cm_sum_entr_3D_avg",
    "glcm_JointEnergy": "cm_energy_3D_avg", "glcm_Contrast": "cm_contrast_3D_avg", "glcm_Id": "cm_inv_diff_3D_avg",
    "glcm_Idm": "cm_inv_diff_mom_3D_avg", "glcm_InverseVariance": "cm_inv_var_3D_avg",
    "glcm_Correlation": "cm_corr_3D_avg", "glcm_Autocorrelation": "cm_auto_corr_3D_avg",
    "glcm_ClusterTendency": "cm_clust_tend_3D_avg", "glcm_ClusterShade": "cm_clust_shade_3D_avg",
    "glcm_ClusterProminence": "cm_clust_prom_3D_avg", "glcm_Imc1": "cm_info_corr1_3D_avg",
    "glcm_Imc2": "cm_info_corr2_3D_avg",
    "glrlm_ShortRunEmphasis": "rlm_sre_3D_avg", "glrlm_LongRunEmphasis": "rlm_lre_3D_avg",
    "glrlm_GrayLevelNonUniformity": "rlm_glnu_3D_avg", "glrlm_RunLengthNonUniformity": "rlm_rlnu_3D_avg",
    "glrlm_RunPercentage": "rlm_r_perc_3D_avg", "glrlm_RunEntropy": "rlm_rl_entr_3D_avg",
    "glszm_SmallAreaEmphasis": "szm_sze_3D", "glszm_LargeAreaEmphasis": "szm_lze_3D",
    "glszm_GrayLevelNonUniformity": "szm_glnu_3D", "glszm_SizeZoneNonUniformity": "szm_zsnu_3D",
    "glszm_ZonePercentage": "szm_z_perc_3D", "glszm_ZoneEntropy": "szm_zs_entr_3D",
    "ngtdm_Coarseness": "ngt_coarseness_3D", "ngtdm_Contrast": "ngt_contrast_3D", "ngtdm_Busyness": "ngt_busyness_3D",
    "ngtdm_Complexity": "ngt_complexity_3D", "ngtdm_Strength": "ngt_strength_3D",
    "gldm_SmallDependenceEmphasis": "ngl_lde_3D", "gldm_LargeDependenceEmphasis": "ngl_hde_3D",
    "gldm_GrayLevelNonUniformity": "ngl_glnu_3D", "gldm_DependenceNonUniformity": "ngl_dcnu_3D",
    "gldm_DependenceEntropy": "ngl_dc_entr_3D",
}  # fmt: skip


@needs_pyradiomics
@pytest.mark.samples
def test_the_digital_phantom_has_the_reference_values_of_ibsi(samples):
    folder = samples / "ibsi"
    image, mask = (
        sitk.ReadImage(str(folder / f"digital_phantom_{n}.nii.gz"), t)
        for n, t in (("image", sitk.sitkFloat64), ("mask", sitk.sitkUInt8))
    )
    settings = dict(radiomics.read_settings()["mr"])
    settings["imageType"] = {"Original": {}}
    settings["setting"] = {"binWidth": 1, "force2D": False, "additionalInfo": False}
    found = radiomics.extract(image, mask, settings=settings)
    with (folder / "ibsi_1_dig_phantom_reference_values.csv").open() as handle:
        reference = {
            r["tag"]: (float(r["reference value"]), float(r["tolerance"] or 0))
            for r in csv.DictReader(handle, delimiter=";")
            if r["reference value"]
        }
    assert len(IBSI) == 67
    wrong = {
        name: (found[f"original_{name}"], *reference[tag])
        for name, tag in IBSI.items()
        # Three figures are printed; a value halfway between two of them may be rounded either way.
        if abs(found[f"original_{name}"] - reference[tag][0]) > max(reference[tag][1], 6e-3 * abs(reference[tag][0]))
    }
    assert not wrong
    assert found["original_firstorder_Kurtosis"] - 3 == pytest.approx(reference["stat_kurt"][0], abs=1e-3)


def smooth_noise(seed=0):
    values = np.random.default_rng(seed).normal(100, 20, GRID.shape).astype(np.float32)
    return sitk.SmoothingRecursiveGaussian(GRID.image(values), 1.5)


@needs_pyradiomics
def test_a_scanners_gain_does_not_change_a_feature():
    image, settings = smooth_noise(), radiomics.read_settings()
    one = radiomics.mr_features(image, HEAD, structure=ball(7.0), settings=settings)
    brighter = sitk.Cast(image * 3.0 + 50.0, sitk.sitkFloat32)
    other = radiomics.mr_features(brighter, HeadIntensity(350.0, 60.0), structure=ball(7.0), settings=settings)
    assert len(one) == 1130
    for name, value in one.items():
        # A voxel on the edge of a bin may fall to either side; what has no bins must not move.
        binned = not any(kind in name for kind in ("_shape_", "_firstorder_")) or "Entropy" in name
        assert other[name] == pytest.approx(value, rel=5e-2 if binned else 2e-3, abs=2e-3), name


@needs_pyradiomics
def test_dose_features_are_in_gray_and_the_change_is_later_minus_planning():
    points = GRID.points()
    dose = Dose(GRID.image((30 - np.linalg.norm(points, axis=-1)).astype(np.float32)), ())
    settings = radiomics.read_settings()
    found = radiomics.dose_features(dose, ball(8.0), settings=settings)
    assert found["dose_original_firstorder_Mean"] == pytest.approx(30 - 0.75 * 8, abs=0.15)
    weaker = Dose(sitk.Cast(dose.image - 2.0, sitk.sitkFloat32), ())
    change = radiomics.change(found, radiomics.dose_features(weaker, ball(8.0), settings=settings))
    assert change["delta_dose_original_firstorder_Mean"] == pytest.approx(-2.0, abs=1e-3)


@needs_pyradiomics
def test_a_speck_is_refused_and_so_are_settings_that_pyradiomics_does_not_know():
    with pytest.raises(GeometryError, match="too few for radiomics"):
        radiomics.mr_features(smooth_noise(), HEAD, structure=ball(0.9), settings=radiomics.read_settings())
    settings = radiomics.read_settings()
    settings["mr"] = {**settings["mr"], "imageType": {"Fourier": {}}}
    with pytest.raises(RTResponseError, match="pyradiomics reports an error"):
        radiomics.mr_features(smooth_noise(), HEAD, structure=ball(7.0), settings=settings)


def test_without_pyradiomics_the_reason_says_where_to_get_it(monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest, **more):
        if name.partition(".")[0] == "radiomics":
            raise ImportError("No module named 'radiomics'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert "SlicerRadiomics" in (radiomics.why_unavailable() or "")
    with pytest.raises(RTResponseError, match="make radiomics"):
        radiomics.mr_features(smooth_noise(), HEAD, structure=ball(7.0), settings=radiomics.read_settings())


@pytest.mark.parametrize(
    ("text", "message"), [("{", "cannot be read"), ('{"mr": {}}', "lacks the block"), ("[]", "lacks")]
)
def test_a_damaged_settings_file_is_named(tmp_path, text, message):
    path = tmp_path / "settings.json"
    path.write_text(text)
    with pytest.raises(RTResponseError, match=message):
        radiomics.read_settings(path)
