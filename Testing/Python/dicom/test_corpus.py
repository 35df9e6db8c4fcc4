"""Every kind of conflict with several members: the right value, or a refusal whose message names the true cause."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from corpus import disagreements, pixels_and_places, who_when_what
from corpus.members import Member
from quirks import codes

from RTResponseCAMLib.dicom.inspect import inspect_folder
from RTResponseCAMLib.dicom.load import load_study
from RTResponseCAMLib.dicom.options import ReadOptions
from RTResponseCAMLib.dosimetry.lesion import lesion_dose
from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.warnings import Severity

KINDS = {
    "references": disagreements.REFERENCES,
    "plans": disagreements.PLANS,
    "doses": disagreements.DOSES,
    "twins": disagreements.TWINS,
    "types": disagreements.TYPES,
    "pixels": pixels_and_places.PIXELS,
    "places": pixels_and_places.PLACES,
    "tolerances": pixels_and_places.TOLERANCES,
    "identity": who_when_what.IDENTITY,
    "dates": who_when_what.DATES,
    "images": who_when_what.IMAGES,
    "structures": who_when_what.STRUCTURES,
}
MEMBERS = [pytest.param(m, id=f"{kind}: {m.name}") for kind, members in KINDS.items() for m in members]


@pytest.fixture(scope="module")
def truth(study):
    """Mean dose of each lesion, by name."""
    return {x.structure.name: lesion_dose(study, x.structure).mean_gy for x in study.lesions}


def spread(members: list) -> list:
    """Every ninth member at each commit, all of them in `make test-all`."""
    found = []
    for number, member in enumerate(members):
        values, marks = getattr(member, "values", (member,)), getattr(member, "marks", ())
        slow = [pytest.mark.slow] if number % 9 else []
        found.append(pytest.param(*values, marks=[*marks, *slow], id=getattr(member, "id", None)))
    return found


@pytest.mark.parametrize("member", spread(MEMBERS))
def test_member(member: Member, own_study, study, truth):
    member.change(own_study)
    if member.refused:
        with pytest.raises(RTResponseError, match=member.refused) as error:
            load_study(own_study, **member.options)
        problem = inspect_folder(own_study, ReadOptions(**member.options))["problem"]
        assert problem == str(error.value)  # what reading refuses, inspecting names in the same words
        return
    found = load_study(own_study, **member.options)
    assert set(member.warned) <= codes(found), codes(found)
    loud = {w.code.value for w in found.warnings if w.severity is not Severity.NOTE}
    assert loud <= {*member.warned, *member.beside}, [w.text for w in found.warnings]
    assert not set(member.silent) & codes(found), codes(found)
    expected = member.expected
    names = expected.get("lesions", [x.structure.name for x in study.lesions])
    assert [x.structure.name for x in found.lesions] == names
    assert found.lesions[0].structure.kind == expected.get("kind", found.lesions[0].structure.kind)
    known = {x.structure.number: contour_volume_cc(x.structure) for x in study.lesions}
    for lesion in found.lesions:
        assert contour_volume_cc(lesion.structure) == pytest.approx(known[lesion.structure.number], rel=0.01)
    days = [f.days_after_plan for f in study.follow_ups]
    later = expected.get("later", 0)
    assert [f.days_after_plan for f in found.follow_ups] == expected.get("days", [d + later for d in days])
    _same_mr(found, study, expected.get("mr", "same"))
    _same_dose(found, study, truth, expected)


def _same_mr(found, study, how: str | None) -> None:
    if how == "resampled":
        return
    if how == "elsewhere":  # tilted, or rounded: the same voxels in another place
        assert found.mr.GetSpacing() == pytest.approx(study.mr.GetSpacing(), rel=2e-3)
    else:
        assert found.mr.GetSpacing() == pytest.approx(study.mr.GetSpacing(), abs=1e-9)
    ours, theirs = (sitk.GetArrayViewFromImage(s.mr) for s in (found, study))
    if how == "padded":
        np.testing.assert_array_equal(ours[:, 4:], theirs[:, 4:])
        assert (ours[:, :4] == theirs[:, 4:].min()).all()
    else:
        np.testing.assert_array_equal(ours, theirs)


def _same_dose(found, study, truth, expected) -> None:
    factor = expected.get("dose", 1.0)
    if factor is None:
        assert found.dose is None
        return
    assert found.dose.unit == expected.get("unit", "Gy")
    numbers = {x.structure.number: x.structure.name for x in study.lesions}
    for place, lesion in enumerate(found.lesions):
        metrics = lesion_dose(found, lesion.structure)
        original = numbers[lesion.structure.number]
        assert metrics.mean_gy == pytest.approx(factor * truth[original], rel=0.01)
        prescribed = study.plan.prescription.by_roi[lesion.structure.number]
        assert metrics.prescription_gy == pytest.approx(expected.get("rx_gy", {}).get(place, prescribed), rel=0.003)


def test_every_kind_has_members_that_are_read_and_members_that_are_refused_or_warned_of():
    for kind, members in KINDS.items():
        assert len(members) > 5, kind
        assert any(m.refused or m.warned for m in members), kind
        assert any(not m.refused for m in members), kind
