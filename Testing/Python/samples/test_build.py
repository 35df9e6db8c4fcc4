"""Samples of the lesions of a study: what each family holds, and why one is missing."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from RTResponseCAMLib.dosimetry.lesion import lesion_dose
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.imaging.resample import head_intensity
from RTResponseCAMLib.samples import build, radiomics
from RTResponseCAMLib.samples.build import NO_DOSE, Identity, SampleSettings, sample_study

needs_pyradiomics = pytest.mark.skipif(
    radiomics.why_unavailable() is not None, reason="pyradiomics is absent (make radiomics)"
)


def sampled(study, *families, identity=Identity(), **more):  # noqa: B008
    lesion = study.lesions[0].structure
    (found,) = sample_study(study, [lesion], settings=SampleSettings(families=families), identities=[identity], **more)
    return found


def without_dose(study):
    return replace(study, dose=None)


def test_lesions_are_sampled_in_order_with_their_progress(study):
    seen = []
    structures = [lesion.structure for lesion in study.lesions]
    identities = [Identity(f"P{n}", f"C{n}", f"L{n}", n % 2) for n in range(len(structures))]
    found = sample_study(
        study,
        structures,
        settings=SampleSettings(),
        identities=identities,
        progress=lambda share, text="": seen.append((share, text)),
    )
    assert seen == [(n / 3, f"sampling lesion {n + 1}") for n in range(3)]
    assert [(s.index, s.patient, s.course, s.lesion, s.label) for s in found] == [
        (n + 1, f"P{n}", f"C{n}", f"L{n}", n % 2) for n in range(3)
    ]
    assert [s.volume_cc for s in found] == [contour_volume_cc(s) for s in structures]
    assert [dict(s.features) for s in found] == [{}] * 3
    assert [dict(s.missing) for s in found] == [{}] * 3
    assert [s.dose for s in found] == [lesion_dose(study, s) for s in structures]
    assert all(s.patch.has_dose for s in found)


def test_clinical_features_come_from_the_plan_unless_the_identity_states_them(study):
    lesion = study.lesions[0].structure
    prescription = study.plan.prescription
    found = sampled(study, "volume", "clinical", identity=Identity(lesions=3, clinical={"clinical_age": 61.0}))
    assert found.features["volume"] == {"volume_log_cc": pytest.approx(np.log(contour_volume_cc(lesion)))}
    assert found.features["clinical"] == {
        "clinical_rx_gy": prescription.dose_for(lesion),
        "clinical_fractions": float(prescription.fractions),
        "clinical_lesions": 3.0,
        "clinical_age": 61.0,
    }
    assert set(found.features) == {"volume", "clinical"}
    assert sampled(study, "clinical", identity=Identity(fractions=5)).features["clinical"]["clinical_fractions"] == 5.0
    bare = sampled(replace(study, plan=None, dose=None), "clinical").features["clinical"]
    assert np.isnan([bare["clinical_rx_gy"], bare["clinical_fractions"]]).all()


def test_a_study_without_a_dose_says_so(study):
    found = sampled(without_dose(study))
    assert found.missing == {"dose": NO_DOSE}
    assert found.dose is None
    assert not found.patch.has_dose


def test_spacing_and_margin_are_those_of_the_settings(study):
    lesion = study.lesions[0].structure
    settings = SampleSettings(spacing_mm=1.5, margin_mm=2.0)
    (found,) = sample_study(study, [lesion], settings=settings, identities=[Identity()])
    assert found.patch.grid.spacing_mm == (1.5, 1.5, 1.5)
    wide = replace(settings, margin_mm=8.0)
    (wider,) = sample_study(study, [lesion], settings=wide, identities=[Identity()])
    assert min(np.subtract(wider.patch.grid.size, found.patch.grid.size)) >= 6


def test_families_that_fail_are_missing_with_the_reason(study, monkeypatch):
    monkeypatch.setitem(sys.modules, "radiomics", None)
    found = sampled(study, "radiomics", "dosiomics", "delta", "gradient")
    assert set(found.missing) == {"radiomics", "dosiomics", "delta"}
    assert set(found.features) == {"gradient"}
    assert build.why_unavailable("radiomics") == found.missing["radiomics"]
    assert build.why_unavailable("gradient") is None


@needs_pyradiomics
def test_dosiomics_hold_absolute_and_relative_doses(study):
    found = sampled(study, "dosiomics")
    features, metrics = found.features["dosiomics"], found.dose
    for name in ("mean_gy", "d98_gy", "d50_gy", "d2_gy"):
        assert features[f"dose_{name}"] == getattr(metrics, name)
    assert features["dose_coverage"] == metrics.coverage
    assert features["dose_mean_of_prescription"] == pytest.approx(metrics.mean_gy / metrics.prescription_gy)
    assert any("firstorder" in name for name in features)
    assert set(found.features) == {"dosiomics"}
    assert found.missing == {}
    assert sampled(without_dose(study), "dosiomics").missing == {"dose": NO_DOSE, "dosiomics": NO_DOSE}


@needs_pyradiomics
def test_delta_features_need_an_earlier_scan_and_are_zero_for_the_same_one(study):
    assert sampled(study, "delta").missing == {"delta": "no scan between the plan and the follow-up"}
    assert sampled(study, "delta", earlier="the scan is elsewhere").missing == {"delta": "the scan is elsewhere"}
    same = study.mr, head_intensity(study.mr)
    alone = sampled(study, "delta", earlier=same).features
    assert set(alone) == {"delta"}
    planning = sampled(study, "radiomics").features["radiomics"]
    for name, change in alone["delta"].items():  # the scan is sampled twice, which differs by rounding
        assert change == pytest.approx(0.0, abs=1e-5 * max(abs(planning[name.removeprefix("delta_")]), 1.0))
    brighter = study.mr * 1.5, head_intensity(study.mr)
    both = sampled(study, "radiomics", "delta", earlier=brighter).features
    assert set(both) == {"radiomics", "delta"}
    median = next(name for name in both["delta"] if name.endswith("firstorder_Median"))
    assert both["delta"][median] > 0
    assert set(both["delta"]) == set(alone["delta"])
