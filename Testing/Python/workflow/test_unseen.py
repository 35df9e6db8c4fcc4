"""What the model does not see of a lesion, or is not given, is said, and no class is given for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from conv_lesions import patch_of
from fitted import sample_of

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.patch import sample_patch
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.imaging.resample import head_intensity, resample
from RTResponseCAMLib.models.familiarity import Familiarity
from RTResponseCAMLib.models.scale_space.classifier import Architecture, AutoencoderClassifier
from RTResponseCAMLib.models.scale_space.model import FittedScaleSpace
from RTResponseCAMLib.models.scale_space.preparation import prepare
from RTResponseCAMLib.samples.sample import LesionSample
from RTResponseCAMLib.study import GY_RBE, Structure
from RTResponseCAMLib.warnings import WarningCode
from RTResponseCAMLib.workflow.predict import predict_study


def moved(structure: Structure, *by_mm: tuple[float, float, float]) -> Structure:
    contours = tuple(np.asarray(c) + np.asarray(step) for step in by_mm for c in structure.contours)
    return replace(structure, contours=contours)


def only(study, structure: Structure, **parts):
    lesion = replace(study.lesions[0], structure=structure)
    return replace(study, lesions=(lesion,), **parts)


def reading_dose(shipped):
    """The shipped model's card over an untrained network that reads the dose."""
    fitted = FittedScaleSpace(AutoencoderClassifier(Architecture(dose=True)).eval())
    card = {**shipped.card, "preprocessing": {**shipped.card["preprocessing"], "dose": True}}
    return replace(shipped, card=card, model=replace(shipped.model, fitted=fitted))


def codes(result) -> set[str]:
    return {c.code for c in result.predictions[0].warnings}


@pytest.mark.slow
def test_pieces_that_no_patch_holds_are_said_and_stay_without_evidence(study, shipped):
    """As when all metastases are one ROI."""
    structure = study.lesions[0].structure
    several = moved(structure, (-65.0, 0.0, 0.0), (0.0, 0.0, 0.0), (65.0, 0.0, 0.0))
    result = predict_study(only(study, several, dose=None), shipped)
    assert "patch-limit" in codes(result)
    assert result.predictions[0].label == "indeterminate"
    one = predict_study(only(study, structure, dose=None), shipped)
    judged, alone = (int((sitk.GetArrayFromImage(r.cam) != 0).sum()) for r in (result, one))
    assert judged == pytest.approx(alone, rel=0.02)


def test_an_roi_with_nothing_in_its_middle_is_named(study, shipped):
    two = moved(study.lesions[0].structure, (-60.0, 0.0, 0.0), (60.0, 0.0, 0.0))
    with pytest.raises(GeometryError, match="nowhere within 48 mm of its own center"):
        predict_study(only(study, two, dose=None), shipped)


def test_numbers_that_are_none_are_refused_near_a_lesion(study, shipped):
    values = sitk.GetArrayFromImage(study.mr).astype(np.float32)
    structure = study.lesions[0].structure
    x, y, z = np.rint(Grid.of(study.mr).to_index(np.asarray(structure.contours[0])[:1])[0]).astype(int)
    values[z, y, x] = np.nan
    spoiled = Grid.of(study.mr).image(values)
    with pytest.raises(GeometryError, match="not numbers"):
        predict_study(only(study, structure, mr=spoiled), shipped)


def test_beyond_the_scan_an_image_goes_on_and_the_lesion_says_so(study, shipped):
    mr = study.mr
    structure = study.lesions[0].structure
    points = np.concatenate([np.asarray(c) for c in structure.contours])
    index = Grid.of(mr).to_index(points)[:, 2]
    last = int(np.ceil(np.median(index))) + 1
    cut = sitk.RegionOfInterest(mr, [*mr.GetSize()[:2], last], [0, 0, 0])
    result = predict_study(only(study, structure, mr=cut), shipped)
    assert "mr-edge" in codes(result)
    assert result.predictions[0].label == "indeterminate"
    patch = sample_patch(cut, head_intensity(cut), structure=structure, dose=None, prescription_gy=None)
    edge = Grid.of(cut).to_lps(np.asarray([[0, 0, last - 1]], dtype=float))[0, 2]
    beyond = patch.grid.points()[..., 2] > edge + 0.5
    within = np.abs(patch.grid.points()[..., 2] - edge) < 0.75
    assert np.median(np.abs(patch.mr[beyond])) == pytest.approx(np.median(np.abs(patch.mr[within])), rel=0.3)
    assert sitk.GetArrayFromImage(resample(cut, patch.grid))[beyond].max() == 0  # a dose does not


@pytest.mark.slow
def test_a_model_that_reads_dose_gives_no_class_without_it(study, shipped):
    bundle = reading_dose(shipped)
    with_dose = predict_study(study, bundle)
    assert "dose-needed" not in codes(with_dose)
    without = predict_study(replace(study, dose=None), bundle)
    assert "dose-needed" in codes(without)
    assert all(p.label == "indeterminate" for p in without.predictions)


@pytest.mark.slow
def test_a_model_that_reads_no_dose_gives_its_classes_without_it(study, shipped, result):
    said = WarningCode.NO_DOSE(reason="no RTDOSE belongs to this plan")
    without = predict_study(replace(study, dose=None, warnings=(*study.warnings, said)), shipped)
    assert [p.label for p in without.predictions] == [p.label for p in result.predictions]
    assert any(p.label != "indeterminate" for p in without.predictions)


@pytest.mark.slow
def test_a_model_that_learned_from_physical_dose_gives_no_class_on_weighted_dose(study, shipped):
    weighted = replace(study, dose=replace(study.dose, unit=GY_RBE))
    found = predict_study(weighted, reading_dose(shipped))
    assert "dose-rbe-model" in codes(found)
    assert all(p.label == "indeterminate" for p in found.predictions)
    assert "dose-rbe-model" not in codes(predict_study(weighted, shipped))


def test_a_dose_that_is_not_known_is_no_dose_in_training_as_in_prediction(study):
    structure = study.lesions[0].structure
    patch = sample_patch(study.mr, head_intensity(study.mr), structure=structure, dose=None, prescription_gy=20.0)
    assert not patch.has_dose
    lesion = prepare(sample_of(patch, 0), Architecture(dose=True), n_augmentations=0)
    assert torch.equal(lesion.dose, torch.zeros_like(lesion.dose))


@pytest.mark.slow
def test_an_mr_coarser_than_the_model_has_seen_is_said(study, shipped):
    structure = study.lesions[0].structure
    result = predict_study(only(study, structure, dose=None), shipped)
    assert "coarse-mr" in codes(result)
    preprocessing = {**shipped.card["preprocessing"], "mr_voxel_mm": 2.0}
    used_to_it = replace(shipped, card={**shipped.card, "preprocessing": preprocessing})
    assert "coarse-mr" not in codes(predict_study(only(study, structure, dose=None), used_to_it))
    own = Grid.of(study.mr)
    size = tuple(int(n * step) for n, step in zip(own.size, own.spacing_mm, strict=True))
    fine = resample(study.mr, Grid(size, (1.0, 1.0, 1.0), own.origin_mm, own.direction), smooth=True)
    assert "coarse-mr" not in codes(predict_study(only(study, structure, dose=None, mr=fine), shipped))


@pytest.mark.slow
def test_a_lesion_of_another_volume_than_the_model_has_seen_gets_no_class(study, shipped):
    structure = study.lesions[0].structure
    volume = contour_volume_cc(structure)
    low, high = shipped.card["preprocessing"]["volume_cc"]
    assert low < volume < high

    def judged(seen_cc):
        card = {**shipped.card, "preprocessing": {**shipped.card["preprocessing"], "volume_cc": seen_cc}}
        return predict_study(only(study, structure, dose=None), replace(shipped, card=card))

    for seen_cc in ((1.2 * volume, high), (low, volume / 1.2)):
        result = judged(seen_cc)
        (said,) = [c.text for c in result.predictions[0].warnings if c.code == "volume-range"]
        assert f"{seen_cc[0]:.2g}–{seen_cc[1]:.3g} cm³" in said
        assert result.predictions[0].label == "indeterminate"
    assert "volume-range" not in codes(judged((1.05 * volume, high)))
    assert "volume-range" not in codes(judged((low, volume / 1.05)))


@pytest.mark.parametrize("unlike", [True, False])
def test_a_lesion_unlike_the_training_lesions_gets_no_class_and_is_told_what_is_unlike(study, shipped, unlike):
    samples = [
        LesionSample(patch_of(n, radius_mm=3 + 0.05 * n, coarse=bool(n % 2)), 0.5, patient=f"P{n}") for n in range(50)
    ]
    values = Familiarity.of_samples(samples).as_json()
    for group in values.values():
        group["distances"] = [0.0 if unlike else 1000.0] * 50
    bundle = replace(shipped, card={**shipped.card, "familiarity": values})
    (found,) = predict_study(only(study, study.lesions[0].structure), bundle).predictions
    told = [w.text for w in found.warnings if w.code is WarningCode.UNLIKE_TRAINING]
    assert found.training_distance > 0
    if unlike:
        assert found.label == "indeterminate"
        assert "larger voxels, thicker slices" in told[0]
        assert "p = 0.039" in told[0]
        assert found.training_p == pytest.approx(2 / 51)
        assert found.quality_flags
    else:
        assert (told, found.training_p) == ([], 1.0)


def test_a_bundle_that_stores_no_training_lesions_says_nothing_of_them(study, shipped):
    card = {key: value for key, value in shipped.card.items() if key != "familiarity"}
    (found,) = predict_study(only(study, study.lesions[0].structure), replace(shipped, card=card)).predictions
    assert (found.training_distance, found.training_p) == (None, None)
