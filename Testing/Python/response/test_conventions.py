"""Labels by convention, at three months, and what is not known stays unknown."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bodies import ball

from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.response.conventions import CONVENTIONS, classify, with_thresholds
from RTResponseCAMLib.response.diameter import Diameters, diameters
from RTResponseCAMLib.response.trajectory import Trajectory, Visit, _diameter_change, assess, three_month_label
from RTResponseCAMLib.response.volume import Change, absent_volume, volume_interval

BASE = ball(12.0)
BASELINE, SIZE = volume_interval(BASE), diameters(BASE)


def visit(name, days, radius=None, status="matched", merged=()):
    if radius is None:
        return Visit(name, days, "unknown", None, None, BASELINE, SIZE, "")
    if radius == 0:
        return Visit(name, days, "vanished", absent_volume(), None, BASELINE, SIZE, "RTSTRUCT")
    body = ball(radius)
    return Visit(name, days, status, volume_interval(body), diameters(body), BASELINE, SIZE, "RTSTRUCT", merged)


def trajectory(*visits):
    return Trajectory("L1", "GTV", BASELINE, SIZE, visits)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (Change(-0.5, -0.6, -0.4), "response"),
        (Change(-0.25, -0.4, -0.1), "indeterminate"),
        (Change(-0.15, -0.3, 0.0), "indeterminate"),
        (Change(-0.1, -0.19, 0.0), "non-response"),
        (Change(0.4, 0.2, 0.6), "non-response"),
        (Change(-1.0, -1.0, -0.99), "response"),
        (None, "unknown"),
    ],
)
def test_twenty_percent(change, word):
    assert classify(CONVENTIONS["volume-20"], change, growth=change) == word


@pytest.mark.parametrize(
    ("change", "growth", "word"),
    [
        (Change(-0.8, -0.9, -0.7), Change(0.0, -0.1, 0.1), "response"),
        (Change(-0.8, -0.9, -0.7), Change(0.5, 0.3, 0.8), "progression"),
        (Change(0.3, 0.1, 0.5), Change(0.3, 0.1, 0.5), "indeterminate"),
        (Change(-0.3, -0.4, -0.2), Change(-0.3, -0.4, -0.2), "stable"),
        (Change(-1.0, -1.0, -0.99), None, "complete response"),
    ],
)
def test_sixty_five_percent_and_growth_from_the_nadir(change, growth, word):
    assert classify(CONVENTIONS["volume-65"], change, growth=growth) == word


def test_the_visit_nearest_ninety_days_in_the_window_gives_the_label():
    found = three_month_label(trajectory(visit("F1", 40, 6.0), visit("F2", 75, 12.0), visit("F3", 100, 8.0)))
    assert (found.visit, found.category) == ("F3", "response")
    assert found.change.value == pytest.approx((8 / 12) ** 3 - 1, abs=0.01)


def test_no_visit_in_the_window_is_unknown():
    found = three_month_label(trajectory(visit("F1", 40, 6.0), visit("F2", 150, 6.0)))
    assert (found.category, found.change) == ("unknown", None)
    assert found.reason == "no visit between day 60 and day 120"
    wide = three_month_label(trajectory(visit("F1", 40, 6.0)), window_days=(30, 180))
    assert wide.category == "response"


def test_a_missing_mask_is_unknown_and_never_zero():
    found = three_month_label(trajectory(visit("F1", 90)))
    assert (found.category, found.change) == ("unknown", None)


def test_a_lesion_that_was_looked_for_and_not_seen_responded():
    assert three_month_label(trajectory(visit("F1", 90, 0))).category == "response"


def test_a_change_near_the_threshold_is_indeterminate():
    assert three_month_label(trajectory(visit("F1", 90, 12.0 * 0.8 ** (1 / 3)))).category == "indeterminate"


def test_rano_bm_takes_diameters_from_baseline_and_nadir():
    convention = CONVENTIONS["rano-bm"]
    path = trajectory(visit("F1", 60, 7.0), visit("F2", 120, 11.5))
    assert assess(path, path.visits[0], convention=convention).category == "response"
    # Back near the baseline, but 4.5 mm of radius above the nadir.
    assert assess(path, path.visits[1], convention=convention).category == "progression"


def test_growth_of_less_than_five_millimeters_is_no_progression():
    path = replace(trajectory(visit("F1", 60, 5.0), visit("F2", 120, 7.0)), boundary_mm=0.2)
    assert assess(path, path.visits[1], convention=CONVENTIONS["rano-bm"]).category == "response"


def test_small_lesions_are_not_measurable_by_diameter():
    small = ball(4.0)
    base, size = volume_interval(small), diameters(small)
    later = Visit("F1", 90, "matched", base, size, base, size, "RTSTRUCT")
    path = Trajectory("L1", "GTV", base, size, (later,))
    assert assess(path, later, convention=CONVENTIONS["rano-bm"]).category == "not measurable"


def test_thresholds_can_be_changed_and_say_so():
    own = with_thresholds(CONVENTIONS["volume-20"], -50.0, progression=40.0)
    assert own.name == "volume-20 changed to -50 %, +40 %"
    assert classify(own, Change(-0.4, -0.45, -0.35), growth=Change(-0.4, -0.45, -0.35)) == "stable"
    assert classify(own, Change(0.6, 0.5, 0.7), growth=Change(0.6, 0.5, 0.7)) == "progression"
    assert with_thresholds(CONVENTIONS["volume-20"], None, progression=None) is CONVENTIONS["volume-20"]
    with pytest.raises(CohortError, match="expected below 0 %"):
        with_thresholds(CONVENTIONS["volume-20"], 20.0, progression=None)


def test_a_proposal_is_never_more_than_indeterminate():
    found = three_month_label(trajectory(visit("F1", 90, 6.0, status="proposed")))
    assert found.category == "indeterminate"
    assert found.change.value < -0.8
    assert "not confirmed by a person" in found.reason


def test_of_two_visits_in_the_window_the_nearer_counts_even_when_it_comes_first():
    found = three_month_label(trajectory(visit("F1", 85, 8.0), visit("F2", 119, 12.0)))
    assert (found.visit, found.category) == ("F1", "response")


def test_a_drawn_visit_goes_before_a_nearer_one_that_was_only_proposed():
    found = three_month_label(trajectory(visit("F1", 88, 12.0, status="proposed"), visit("F2", 95, 8.0)))
    assert (found.visit, found.category) == ("F2", "response")
    assert "F1 (day 88) is proposed and not used" in found.reason


def test_a_proposal_is_no_nadir():
    path = trajectory(visit("F1", 60, 4.5, status="proposed"), visit("F2", 120, 12.0))
    assert assess(path, path.visits[1], convention=CONVENTIONS["volume-65"]).category == "stable"
    assert assess(path, path.visits[1], convention=CONVENTIONS["rano-bm"]).category == "stable"


def test_growth_of_the_volume_counts_from_the_nadir():
    path = trajectory(visit("F1", 60, 7.0), visit("F2", 120, 11.5))
    assert assess(path, path.visits[1], convention=CONVENTIONS["volume-65"]).category == "progression"
    assert (
        assess(path, path.visits[1], convention=replace(CONVENTIONS["volume-65"], progression_from="baseline")).category
        == "stable"
    )


def test_growth_of_about_five_millimeters_is_indeterminate():
    """24 mm at the plan, 12.0 mm at the nadir, 16.9 mm now: 4.9 mm of growth, uncertain by 1.4 mm."""
    path = trajectory(visit("F1", 60, 6.0), visit("F2", 120, 8.45))
    assert assess(path, path.visits[1], convention=CONVENTIONS["rano-bm"]).category == "indeterminate"


@pytest.mark.parametrize(("scale", "step"), [((1.0, 0.18, 1.0), 1.0), ((1.0, 1.0, 0.08), 2.0)])
def test_narrow_lesions_and_those_of_one_slice_are_not_measurable_by_diameter(scale, step):
    thin = ball(12.0, scale=scale, step=step)
    base, size = volume_interval(thin), diameters(thin)
    assert size.longest_mm > 20
    later = Visit("F1", 90, "matched", base, size, base, size, "RTSTRUCT")
    path = Trajectory("L1", "GTV", base, size, (later,))
    assert assess(path, later, convention=CONVENTIONS["rano-bm"]).category == "not measurable"


def test_no_line_of_the_plot_leads_to_a_visit_of_unknown_day():
    from RTResponseCAMLib.report.follow_up_figures import plot_trajectories

    figure = plot_trajectories((trajectory(visit("F1", 80, 11.0), visit("F2", None, 9.0)),), (60, 120))
    (ax,) = figure.axes
    joined = [line for line in ax.lines if line.get_linestyle() == "-" and len(set(line.get_xdata())) > 1]
    assert max(x for line in joined for x in line.get_xdata() if line.get_color() == "#1553b5") == pytest.approx(80)
    assert "F2, day ?" in [text.get_text() for text in ax.texts]


@pytest.mark.parametrize(
    ("response", "progression", "refused"),
    [(-30.0, 1000.0, False), (-30.0, 1001.0, True), (-30.0, 0.0, True), (0.0, 20.0, True), (-100.0, 20.0, True),
     (-99.0, 0.5, False), (None, 1500.0, True), (-100.5, None, True)],
)  # fmt: skip
def test_thresholds_lie_between_their_bounds(response, progression, refused):
    if refused:
        with pytest.raises(CohortError, match="expected below 0 % and above 0 %"):
            with_thresholds(CONVENTIONS["volume-65"], response, progression=progression)
    else:
        found = with_thresholds(CONVENTIONS["volume-65"], response, progression=progression)
        assert (found.response, found.progression) == (response / 100, progression / 100)


def test_a_change_that_is_no_number_is_unknown():
    nan = float("nan")
    assert classify(CONVENTIONS["volume-20"], Change(nan, nan, nan), growth=None) == "unknown"


@pytest.mark.parametrize(
    ("low_mm", "high_mm", "category"),
    [(5.0, 8.0, "progression"), (4.9, 5.0, "indeterminate"), (3.0, 4.9, "stable")],
)
def test_growth_of_just_five_millimeters_is_progression(low_mm, high_mm, category):
    growth = Change(0.5, 0.3, 0.7)
    found = classify(
        CONVENTIONS["rano-bm"], Change(0.1, 0.0, 0.2), growth=growth, growth_mm=Change(6.0, low_mm, high_mm)
    )
    assert found == category


def test_growth_from_nothing_is_measured_from_the_smallest_that_can_be_seen():
    """From 0 mm to 0.9 mm, each end uncertain by 0.05 mm: it may have grown by any amount, not shrunk from 1 mm."""
    convention = replace(CONVENTIONS["rano-bm"], min_growth_mm=0.0, measurable_mm=0.0, perpendicular_mm=0.0, slices=0)
    gone, back = visit("F1", 60, 0), visit("F2", 120, 0.45)
    path = replace(trajectory(gone, replace(back, diameters=Diameters(0.9, 0.9, 3))), boundary_mm=0.05)
    assert assess(path, path.visits[1], convention=convention).category == "indeterminate"


def test_the_interval_of_a_diameter_joins_both_ends_of_both():
    path = trajectory(visit("F1", 90, 6.0))
    found = assess(path, path.visits[0], convention=CONVENTIONS["rano-bm"])
    before, now = SIZE.longest_mm, path.visits[0].diameters.longest_mm
    slack = 2 * path.boundary_mm
    half = now / before * ((slack / before) ** 2 + (slack / now) ** 2) ** 0.5
    assert found.change.value == pytest.approx(now / before - 1)
    assert found.change.high - found.change.value == pytest.approx(half)
    assert found.change.value - found.change.low == pytest.approx(half)


def test_the_visit_that_is_passed_over_is_the_nearest_one():
    path = trajectory(visit("F1", 65, 9.0), visit("F2", 91, 9.0, status="proposed"), visit("F3", 118, 9.0))
    found = three_month_label(path)
    assert found.visit == "F1"
    assert "F2 (day 91)" in found.reason
    assert "F3" not in found.reason


def test_the_change_of_a_diameter_has_an_independent_error_at_both_ends():
    assert _diameter_change(10.0, 0.0, 1.0) == Change(-1.0, -1.0, -1.0)
    found = _diameter_change(10.0, 5.0, 1.0)
    half = 0.5 * (0.1**2 + 0.2**2) ** 0.5
    assert (found.value, found.low, found.high) == pytest.approx((-0.5, -0.5 - half, -0.5 + half))
