"""What a card says of the model's sensitivity to the scan; a card may come from anywhere."""

from __future__ import annotations

import pytest

from RTResponseCAMLib.models.card import default_bundle, read_card, worst_stress


def changes(**flips):
    return {"lesions": 48, "changes": {name: {"flips": value} for name, value in flips.items()}}


def test_the_change_that_flips_most_classes_is_found_over_all_families():
    card = {"stress": {"a": changes(blur=0.2, noise=0.1), "b": changes(blur=0.1, bias=0.4)}}
    assert worst_stress(card) == ("bias", 0.4, 48)


@pytest.mark.parametrize(
    "stress",
    [
        None,
        [],
        "x",
        {},
        {"a": 3},
        {"a": {"changes": [1]}},
        {"a": {"lesions": 9, "changes": {"blur": {"flips": "0.3"}}}},
    ],
)
def test_what_cannot_be_read_is_not_measured(stress):
    assert worst_stress({"stress": stress}) is None
    assert worst_stress({}) is None


def test_the_included_model_states_its_own():
    name, flips, count = worst_stress(read_card(default_bundle()))
    assert name
    assert 0 < flips <= 1
    assert count >= 40
