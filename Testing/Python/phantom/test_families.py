"""Families of phantom lesions: true volumes and fractions, what can be seen, and what must not give the label away."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.phantom.families import FAMILIES, draw, family_of, sample_realistic
from RTResponseCAMLib.phantom.families.body import DARKER
from RTResponseCAMLib.phantom.families.properties import Properties, sample_volumes_cc
from RTResponseCAMLib.phantom.patient import sample_patient
from RTResponseCAMLib.phantom.spec import PhantomSpec, Variant

NAMES = tuple(FAMILIES)
WHITE = 0.74


def lesion(family, seed=3, volume_cc=1.5, variant=Variant.TEXTURE, **properties):
    rng = np.random.default_rng([seed, 11])
    spec, center = PhantomSpec(variant=variant), np.zeros(3)
    found = sample_realistic(
        FAMILIES[family], spec, number=1, center_mm=center, volume_cc=volume_cc, rng=rng, scanner=1
    )
    return replace(found, properties=replace(found.properties, **properties)) if properties else found


def lattice(found, step_mm=0.5):
    reach = found.reach_mm
    axis = np.arange(-reach, reach, step_mm)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1), step_mm**3 / 1000


def painted(found, points):
    return found.paint(np.full(points.shape[:-1], WHITE, np.float32), points_mm=points, softness_mm=0.5)


@pytest.mark.parametrize("family", NAMES)
def test_volume_and_fractions_are_those_of_the_truth(family):
    found = lesion(family)
    points, cell_cc = lattice(found)
    inside = found.level(points) > 0
    assert inside.sum() * cell_cc == pytest.approx(found.volume_cc, rel=0.04)
    resistant = inside & (found.resistance(points) > 0)
    viable = found.volume_cc * (1 - found.properties.necrotic_fraction)
    assert resistant.sum() * cell_cc == pytest.approx(found.resistant_fraction * viable, rel=0.12)
    later = found.later()
    assert (later.level(points) > 0).sum() * cell_cc == pytest.approx(found.volume_cc * found.volume_ratio, rel=0.06)
    assert found.non_response == (found.volume_ratio >= 0.8)


@pytest.mark.slow
@pytest.mark.parametrize("family", NAMES)
def test_the_resistant_part_is_seen_in_the_mr_unless_the_variant_is_none(family):
    seen, hidden = (lesion(family, variant=v) for v in (Variant.TEXTURE, Variant.NONE))
    points, _ = lattice(seen, 1.0)
    moved = replace(seen, resistant_level=seen.resistant_level + 0.4)
    assert np.abs(painted(seen, points) - painted(moved, points)).max() > 0.02
    unmoved = replace(hidden, resistant_level=hidden.resistant_level + 0.4)
    np.testing.assert_array_equal(painted(hidden, points), painted(unmoved, points))
    darker = replace(seen, variant=Variant.DARKER)
    part = (seen.level(points) > 0.3) & (seen.resistance(points) > seen.resistant_soft)
    drop = (painted(seen, points) - painted(darker, points))[part]
    assert drop.mean() == pytest.approx(DARKER * seen.properties.brightness * WHITE, rel=0.35)


@pytest.mark.slow
@pytest.mark.parametrize("family", NAMES)
def test_tissue_far_away_is_untouched_and_edema_is_darker(family):
    found = lesion(family, edema=0.3, edema_mm=6.0)
    points, _ = lattice(found, 1.0)
    image = painted(found, points)
    depth = found.level(points) * found.radius_mm
    ring = (depth < -2.5) & (depth > -5)
    assert image[ring].mean() < 0.85 * WHITE
    assert image[depth < -30].size == 0 or np.abs(image[depth < -30] - WHITE).max() < 0.01
    fluid = found.paint(np.full(points.shape[:-1], 0.2, np.float32), points_mm=points, softness_mm=0.5)
    assert fluid[ring].mean() == pytest.approx(0.2, abs=0.01)


@pytest.mark.slow
def test_mixture_has_compartments_of_equal_mean_and_variance():
    """On the noise-free lesion; the histograms of both compartments of many lesions agree within a tenth."""
    means, spreads = [], []
    for seed in range(12):
        found = lesion("mixture", seed, 6.0, necrotic_fraction=0.0, rim=0.0, edema=0.0)
        points, _ = lattice(found, 1.0)
        image = painted(found, points)
        core = found.level(points) * found.radius_mm > 3.0
        parts = [image[core & (sign * found.resistance(points) > 0.2)] for sign in (1, -1)]
        if min(map(len, parts)) > 200:
            means.append(parts[0].mean() / parts[1].mean())
            spreads.append(parts[0].std() / parts[1].std())
    assert len(means) >= 5
    assert np.mean(means) == pytest.approx(1.0, abs=0.05)
    assert np.exp(np.mean(np.log(spreads))) == pytest.approx(1.0, abs=0.15)


def test_resistant_tissue_lies_farther_from_vessels():
    found = lesion("vessels")
    points, _ = lattice(found, 1.0)
    inside = found.level(points) > 0
    distance = found.mechanism.distance(points)
    part = found.resistance(points) > 0
    viable = inside & (found.mechanism.necrosis(points, points[..., 0]) <= found.necrotic_level)
    assert distance[inside & part].min() > distance[viable & ~part].max() - 1e-3


def drawn(family, variant=Variant.TEXTURE, count=2000, seed=5):
    """Properties and labels of lesions of as many scanners and sides, without their images."""
    rng, names = np.random.default_rng(seed), [f.name for f in fields(Properties)]
    table = {name: [] for name in [*names, "scanner", "site", "prescription"]}
    labels = []
    for volume_cc in rng.permutation(sample_volumes_cc(rng, count)):
        scanner, center = int(rng.choice([-1, 1])), rng.uniform(-60, 60, 3)
        properties, ratio, prescription = draw(
            FAMILIES[family], PhantomSpec(variant=variant), rng=rng, volume_cc=float(volume_cc), center_mm=center,
            scanner=scanner,
        )  # fmt: skip
        for name in names:
            table[name].append(getattr(properties, name))
        table["scanner"].append(scanner)
        table["site"].append(center[0] > 0)
        table["prescription"].append(prescription or 0.0)
        labels.append(ratio >= 0.8)
    return {name: np.asarray(values, dtype=float) for name, values in table.items()}, np.asarray(labels)


def z_values(table, labels):
    """z of the difference of the mean ranks of both classes, by property."""
    found = {}
    for name, values in table.items():
        ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable") if values.std() > 0 else values * 0
        spread = ranks.std()
        error = spread * np.sqrt(1 / labels.sum() + 1 / (~labels).sum())
        found[name] = float((ranks[labels].mean() - ranks[~labels].mean()) / error) if spread > 0 else 0.0
    return found


DRIVERS = {"resistant_fraction"}


@pytest.mark.parametrize("family", NAMES)
@pytest.mark.parametrize("variant", [Variant.TEXTURE, pytest.param(Variant.NONE, marks=pytest.mark.slow)])
def test_no_property_but_the_drivers_tells_the_label(family, variant):
    """|z| of 2000 lesions stays below 2; its mean over six times 2000, since chance exceeds 2 once in twenty."""
    draws = [z_values(*drawn(family, variant, seed=seed)) for seed in range(6)]
    z = {name: float(np.mean([one[name] for one in draws])) for name in draws[0]}
    drivers = DRIVERS | ({"prescription"} if family == "dose" else set())
    assert {name: value for name, value in z.items() if name not in drivers and abs(value) > 2} == {}
    assert all(abs(z[name]) > 8 for name in drivers)


@pytest.mark.parametrize(
    ("variant", "named"), [(Variant.VOLUME, "volume_cc"), (Variant.SCANNER, "scanner"), (Variant.SITE, "site")]
)
def test_a_confounded_variant_gives_the_label_away_by_what_it_names(variant, named):
    z = z_values(*drawn("texture", variant))
    assert z[named] > 6
    # Properties are drawn by size class: in the variant "volume" they tell what the volume tells.
    follow = {f.name for f in fields(Properties)} if variant is Variant.VOLUME else set()
    assert {name for name, value in z.items() if abs(value) > 3.2} <= {named, *DRIVERS, *follow}


def test_volumes_have_the_percentiles_of_real_metastases():
    volumes = sample_volumes_cc(np.random.default_rng(2), 4000)
    assert (np.diff(volumes) <= 0).all()
    found = np.percentile(volumes, [5, 25, 50, 75, 95])
    np.testing.assert_allclose(found, [0.021, 0.047, 0.136, 0.535, 9.42], rtol=0.15)


def test_names_that_do_not_exist_are_refused_with_those_that_do():
    with pytest.raises(RTResponseError, match=r"there is no family 'x'.*texture.*vessels"):
        family_of("x")
    with pytest.raises(RTResponseError, match=r"there is no scanner 'x'.*mprage-3t"):
        sample_patient(PhantomSpec(lesions=1, scanner="x"))
    with pytest.raises(RTResponseError, match="'site' does not exist in the family 'coarse'"):
        sample_patient(PhantomSpec(lesions=1, variant=Variant.SITE))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["coarse", *NAMES])
def test_a_patient_of_each_family_has_targets_with_doses(family):
    patient = sample_patient(PhantomSpec(seed=8, lesions=2, family=family, scanner="mixed"))
    assert patient.scanner is not None
    for found, target in zip(patient.lesions, patient.targets, strict=True):
        stated = found.prescription_gy
        assert (stated is not None) == (family == "dose")
        assert target.prescription_gy == (stated if stated else 24.0)
        assert target.at(found.center_mm[None])[0] > target.prescription_gy
