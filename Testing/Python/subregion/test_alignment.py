"""Points, slides and habitats against maps with known relations."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from RTResponseCAMLib.errors import CohortError, OutputError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.subregion.alignment import align, habitats, spearman
from RTResponseCAMLib.subregion.points import Point, read_points, sample_map, slide_points
from RTResponseCAMLib.subregion.voxels import LesionVoxels

GRID = Grid((25, 25, 25), (1.0, 1.0, 1.0), (-40.0, 10.0, 5.0))
CENTER = np.asarray([-28.0, 22.0, 17.0])
BALL = np.linalg.norm(GRID.points() - CENTER, axis=-1) < 9


def lesion_of(field):
    return LesionVoxels(GRID, BALL, np.where(BALL, field, 0).astype(np.float32), None)


def cohort(rho, patients, seed, each=3):
    """Points in smooth maps, whose values follow the map by ``rho`` and a level per patient."""
    rng = np.random.default_rng(seed)
    values, draws, turned, names = [], [], [], []
    for patient in range(patients):
        field = gaussian_filter(rng.normal(size=GRID.shape), 2.0)
        lesion = lesion_of(field / field[BALL].std())
        places = GRID.points()[BALL][rng.integers(0, int(BALL.sum()), each)]
        points = [Point("", tuple(p), 0.0, "") for p in places.tolist()]
        sampled, _ = sample_map(
            [("L1", lesion)], points, radius_mm=1.0, error_mm=0.0, draws=1, turns=99, seed=seed * 1000 + patient
        )
        draws.append(sampled.draws)
        turned.append(sampled.turned)
        names += [f"P{patient}"] * each
    draws, turned = np.concatenate(draws), np.concatenate(turned)
    map_ = (draws[:, 0] - draws[:, 0].mean()) / draws[:, 0].std()
    values = rho * map_ + np.sqrt(1 - rho**2) * rng.normal(size=len(map_))
    return values, draws, turned, names


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_tables_are_read_in_their_frame(tmp_path):
    head = "X; y ;z;Value;Type\n1,5;2;3;0,7;biopsy\n"
    (found,) = read_points(write(tmp_path / "a.csv", head), "RAS")
    assert (found.place_mm, found.value, found.kind) == ((-1.5, -2.0, 3.0), 0.7, "biopsy")
    (own,) = read_points(write(tmp_path / "b.csv", "x,y,z,value,frame,study\n1,2,3,4,lps,P7\n"), "RAS")
    assert (own.place_mm, own.study) == ((1.0, 2.0, 3.0), "P7")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("x,y,density\n1,2,3\n", "z, value"),
        ("x,y,z,value\n1,2,3,4\n", "--frame"),
        ("x,y,z,value,frame\n1,2,3,4,MNI\n", "MNI"),
        ("x,y,z,value,frame\n1,2,nan,4,LPS\n", "line 2"),
        ("x,y,z,value,frame\n", "no point"),
        ("", "lacks"),
    ],
)
def test_a_table_that_cannot_be_used_names_its_fault(tmp_path, text, word):
    with pytest.raises(CohortError, match=word):
        read_points(write(tmp_path / "t.csv", text))


def test_a_table_in_another_encoding_or_place_is_named(tmp_path):
    (tmp_path / "latin.csv").write_bytes("x,y,z,value,type\n1,2,3,4,Läsion\n".encode("latin-1"))
    for name in ("latin.csv", "absent.csv"):
        with pytest.raises(CohortError, match=name):
            read_points(tmp_path / name, "LPS")


def test_the_map_is_read_where_the_points_lie():
    ramp = np.asarray([0.5, -1.0, 2.0])
    lesion = lesion_of(GRID.points() @ ramp)
    places = [CENTER, CENTER + np.asarray([3.2, -1.1, 0.4]), CENTER + np.asarray([60, 0, 0])]
    points = [Point("", tuple(p), 1.0, "") for p in np.asarray(places).tolist()]
    found, warnings = sample_map([("L3", lesion)], points, radius_mm=1.5, error_mm=0.0, draws=2, turns=5)
    assert found.lesions == ("L3", "L3")
    np.testing.assert_allclose(found.draws[:, 0], np.asarray(places[:2]) @ ramp, atol=1e-4)
    assert found.turned.shape == (2, 5)
    assert found.turned[0] == pytest.approx(CENTER @ ramp, abs=0.2)  # the center stays where it is
    assert np.ptp(found.turned[1]) > 1
    assert {c.code for c in warnings} == {"points-outside"}
    loose, _ = sample_map([("L3", lesion)], points[:2], radius_mm=1.5, error_mm=1.0, draws=200, turns=0)
    assert loose.draws[0].std() == pytest.approx(np.linalg.norm(ramp), rel=0.2)


@pytest.mark.slow
def test_a_planted_correlation_is_recovered_inside_its_interval():
    values, draws, turned, names = cohort(0.6, 39, 1)
    found = align(values, draws, turned=turned, patients=names)
    assert (found.points, found.patients) == (117, 39)
    assert found.low < 0.6 < found.high
    assert found.rho == pytest.approx(spearman(values, draws[:, 0]))
    assert found.spatial_p <= 0.02
    assert found.slope_low < 0.6 < found.slope_high
    assert found.slope_p < 1e-6


@pytest.mark.slow
def test_a_level_per_patient_is_no_alignment():
    """Maps and values that differ between patients, and within none: the mixed model and turned maps are not fooled."""
    rng = np.random.default_rng(2)
    _, draws, turned, names = cohort(0.0, 20, 3)
    level = np.repeat(rng.normal(size=20), 3) * 3
    found = align(level + rng.normal(size=60), draws + level[:, None], turned=turned + level[:, None], patients=names)
    assert found.rho > 0.7
    assert found.spatial_p > 0.05


@pytest.mark.slow
def test_without_alignment_p_is_even():
    """A few draws here; Testing/Benchmarks/alignment.py draws 200."""
    cohorts = [cohort(0.0, 12, seed) for seed in range(100, 140)]
    found = [align(values, draws, turned=turned, patients=names) for values, draws, turned, names in cohorts]
    for p in ([f.spatial_p for f in found], [f.slope_p for f in found]):
        assert sum(v <= 0.1 for v in p) <= 11  # 99.9 % of binomial draws
        assert 9 <= sum(v <= 0.5 for v in p) <= 31


def test_too_few_points_or_no_difference_are_said():
    values, draws, turned, names = cohort(0.0, 2, 5, each=6)
    assert align(values, draws, turned=turned, patients=names).slope is None
    with pytest.raises(OutputError, match="fewer than"):
        align(values[:4], draws[:4], turned=None, patients=names[:4])
    with pytest.raises(OutputError, match="values"):
        align(np.ones(12), draws, turned=None, patients=names)
    with pytest.raises(OutputError, match="map"):
        align(values, np.ones_like(draws), turned=None, patients=names)


def test_a_slide_becomes_blocks_at_their_place():
    raster = sitk.GetImageFromArray(np.kron(np.arange(1, 13).reshape(3, 4), np.ones((10, 10))).astype(np.float32))
    raster.SetSpacing((0.1, 0.1))
    move = sitk.TranslationTransform(3, (5.0, 6.0, 7.0))
    found = slide_points(raster, move, block_mm=1.0)
    assert [p.value for p in found] == list(range(1, 13))
    assert found[0].place_mm == pytest.approx((5.45, 6.45, 7.0))
    assert found[5].place_mm == pytest.approx((6.45, 7.45, 7.0))
    holes = sitk.GetArrayFromImage(raster)
    holes[:10, :10] = 0
    again = sitk.GetImageFromArray(holes)
    again.SetSpacing((0.1, 0.1))
    assert [p.value for p in slide_points(again, None, block_mm=1.0)] == list(range(2, 13))


def test_habitats_overlap_as_they_were_laid():
    x = GRID.points()[..., 0] - CENTER[0]
    lesion = lesion_of(x)
    labels = np.where(x > 0, 1, 2)
    labels[~BALL] = 3
    rows = habitats([("L1", lesion, BALL & (x > 2))], {"L1": labels}, names={1: "necrosis"})
    first, second = rows
    assert [r["habitat"] for r in rows] == ["necrosis", "label 2"]
    assert (first["share_of_subregion"], second["share_of_subregion"]) == (1.0, 0.0)
    assert first["share_of_lesion"] + second["share_of_lesion"] == pytest.approx(1)
    assert first["mean_evidence"] > 0 > first["mean_evidence_elsewhere"]
    assert first["dice"] > 0.7
