"""Gradient features on fields whose gradients are known everywhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk
from bodies import ball

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.rigid import as_matrix, moved_image, moved_structure
from RTResponseCAMLib.samples.gradient import NAMES, OCTANTS, gradient_features, margin_of

ANISOTROPIC = Grid((60, 44, 30), (0.8, 1.1, 1.7), (-23.6, -23.7, -24.6))
CENTER = np.array([0.3, -0.2, 0.1])  # of `ball`


def image_of(field, grid=ANISOTROPIC):
    """A field of LPS points as an image on a grid."""
    return grid.image(field(grid.points()).astype(np.float32))


def test_there_are_ninety_features():
    found = gradient_features(image_of(lambda p: p[..., 0]), ball(6.0))
    assert tuple(found) == NAMES
    assert len(found) == 90


def test_a_slope_has_the_same_gradient_everywhere_whatever_the_voxels():
    """I = 3 x − 2 y + z: |g| = √14 per mm; along the patient's left, RG is 3 cos."""
    found = gradient_features(image_of(lambda p: p @ np.array([3.0, -2.0, 1.0])), ball(6.0))
    for region in ("core", "margin", *OCTANTS):
        assert found[f"gradient_gm_{region}_mean"] == pytest.approx(math.sqrt(14), rel=2e-3)
        assert found[f"gradient_gm_{region}_sd"] < 0.02
    assert found["gradient_rg_margin_mean"] == pytest.approx(0.0, abs=0.05)
    assert found["gradient_rd_margin_mean"] == pytest.approx(math.pi / 2, abs=0.02)
    # Towards the left, the front and the top: (1, −1, 1) / √3 has the largest share of (3, −2, 1).
    ahead, behind = found["gradient_rg_LAS_mean"], found["gradient_rg_RPI_mean"]
    assert ahead == pytest.approx(-behind, rel=0.05)
    assert ahead == max(found[f"gradient_rg_{octant}_mean"] for octant in OCTANTS)
    ways = np.abs(np.random.default_rng(1).normal(size=(100_000, 3))) * (1, -1, 1)
    angles = np.arccos(ways @ [3, -2, 1] / np.linalg.norm(ways, axis=1) / math.sqrt(14))
    # The lattice is 1 mm: its points lie up to half of that to one side of an octant's borders.
    assert found["gradient_rd_LAS_mean"] == pytest.approx(angles.mean(), abs=0.05)
    assert found["gradient_rd_LAS_sd"] == pytest.approx(angles.std(), abs=0.03)


@pytest.mark.parametrize(("axis", "towards"), [(0, "L"), (1, "P"), (2, "S")])
def test_an_octants_letters_are_the_ways_it_lies(axis, towards):
    """I = x (or y, z): RG is positive in the octants to the left (behind, above), and negative in the others."""
    found = gradient_features(image_of(lambda p: p[..., axis]), ball(6.0))
    for octant in OCTANTS:
        assert (found[f"gradient_rg_{octant}_mean"] > 0.2) == (towards in octant), octant
        assert abs(found[f"gradient_rg_{octant}_mean"]) > 0.2


def test_a_signal_that_falls_outwards_has_a_negative_radial_gradient_and_points_inwards():
    """I = −|x − c|: g = −r, so GM = 1, RG = −1, RD = π."""
    found = gradient_features(image_of(lambda p: -np.linalg.norm(p - CENTER, axis=-1)), ball(8.0))
    assert found["gradient_gm_margin_mean"] == pytest.approx(1.0, abs=0.01)
    assert found["gradient_rg_margin_mean"] == pytest.approx(-1.0, abs=0.01)
    assert found["gradient_rd_margin_mean"] == pytest.approx(math.pi, abs=0.1)
    assert found["gradient_rg_margin_cv"] < 0.02


def test_a_paraboloid_grows_steeper_with_the_radius():
    """I = |x − c|² / 2: RG = r; over the core of 8 − 1 mm its mean is 3/4 · 7, its variance 3/80 · 7²."""
    found = gradient_features(image_of(lambda p: ((p - CENTER) ** 2).sum(axis=-1) / 2), ball(8.0))
    assert margin_of(4 / 3 * math.pi * 0.8**3) == 1.0
    assert found["gradient_rg_core_mean"] == pytest.approx(0.75 * 7.0, rel=0.02)
    assert found["gradient_rg_core_sd"] == pytest.approx(7.0 * math.sqrt(3 / 80), rel=0.03)
    assert found["gradient_rg_margin_mean"] == pytest.approx(8.0, rel=0.02)


@pytest.mark.parametrize(("radius", "margin"), [(9.8, 1.0), (10.0, 3.0)])
def test_the_margin_is_wider_above_four_cubic_centimeters(radius, margin):
    found = gradient_features(image_of(lambda p: ((p - CENTER) ** 2).sum(axis=-1) / 2), ball(radius))
    assert found["gradient_rg_core_mean"] == pytest.approx(0.75 * (radius - margin), rel=0.02)


def test_octants_are_those_of_the_patient_whatever_the_images_axes():
    """The image is turned by 25° in its own frame; the left half is brighter outwards in the patient's frame."""
    move = as_matrix(sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.1, -0.2, 0.44, (2.0, 3.0, -1.0)))
    plain = image_of(lambda p: p[..., 0] ** 2)
    straight = gradient_features(plain, ball(6.0))
    oblique = Grid((70, 60, 50), (0.9, 0.9, 0.9), (-25.0, -32.0, -18.0),
                   tuple(move[:3, :3].ravel().tolist()))  # fmt: skip
    turned = gradient_features(image_of(lambda p: p[..., 0] ** 2, oblique), ball(6.0))
    for name in NAMES:
        if name.endswith("_mean"):
            assert turned[name] == pytest.approx(straight[name], abs=0.05)
    moved = gradient_features(moved_image(move, plain), moved_structure(move, ball(6.0)))
    assert moved["gradient_gm_core_mean"] == pytest.approx(straight["gradient_gm_core_mean"], rel=0.02)


def test_the_unit_scales_gradients_and_no_angles():
    one, two = (gradient_features(image_of(lambda p: p[..., 2] * 50), ball(5.0), unit=unit) for unit in (1.0, 50.0))
    assert two["gradient_gm_core_mean"] == pytest.approx(one["gradient_gm_core_mean"] / 50)
    assert two["gradient_rd_core_mean"] == pytest.approx(one["gradient_rd_core_mean"])


def test_a_constant_image_gives_no_gradient_and_no_variation():
    found = gradient_features(image_of(lambda p: np.full(p.shape[:-1], 7.0)), ball(5.0))
    assert found["gradient_gm_core_mean"] == pytest.approx(0.0, abs=1e-5)
    assert math.isnan(found["gradient_rg_core_cv"]) or found["gradient_rg_core_sd"] < 1e-5


def test_a_lesion_smaller_than_its_margin_has_no_core():
    found = gradient_features(image_of(lambda p: p[..., 0]), ball(0.9))
    assert math.isnan(found["gradient_gm_core_mean"])
    assert found["gradient_gm_margin_mean"] == pytest.approx(1.0, rel=1e-2)


def test_a_lesion_outside_the_image_is_refused():
    with pytest.raises(GeometryError):
        gradient_features(image_of(lambda p: p[..., 0]), ball(5.0, (400, 0, 0)))
