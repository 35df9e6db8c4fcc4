"""Scanners: level and correlation of the noise, sharpness, slices, contrast, and two scans of one patient."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.phantom.anatomy import WHITE, render_head
from RTResponseCAMLib.phantom.patient import planning_grid, render_mr, sample_patient
from RTResponseCAMLib.phantom.scanner import FERMI, SCANNERS, Scanner, acquire, scanner_of
from RTResponseCAMLib.phantom.spec import PhantomSpec
from RTResponseCAMLib.phantom.write import write_patient

GRID = Grid((96, 80, 40), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
PERFECT = Scanner("perfect", "", 3.0, "mprage", 0.0, 0.0, 1.0, 1e-6, 0.0, 0.0, 0.0, 1.0, 1.0)


def flat(grid):
    return np.full(grid.shape, WHITE, np.float32)


def none(grid):
    return np.zeros(grid.shape, np.float32)


def scanned(scanner, render=flat, grid=GRID, bias=none, seed=1):
    return acquire(scanner, render, grid=grid, bias=bias, rng=np.random.default_rng(seed))


def changed(**values):
    return Scanner(**{**vars(PERFECT), **values})


@pytest.mark.parametrize("name", SCANNERS)
def test_noise_has_the_stated_level_and_is_correlated_as_in_real_heads(name):
    scanner = SCANNERS[name]
    image = scanned(scanner)[:, 8:-8, 8:-8]
    assert image.std() / image.mean() == pytest.approx(scanner.noise, rel=0.1)
    assert 0.009 <= scanner.noise <= 0.023  # 10th and 90th percentile of real heads
    rest = image - image.mean()
    lags = [
        (np.take(rest, range(1, rest.shape[a]), a) * np.take(rest, range(rest.shape[a] - 1), a)).mean()
        for a in (0, 1, 2)
    ]
    within = np.mean(lags[1:]) / rest.var()
    # The noise of an image has the power spectrum of its window in k-space: its correlation follows [Wiener-Khinchin].
    frequency = np.fft.fftfreq(GRID.size[0])
    power = 1 / (1 + np.exp((2 * np.abs(frequency) - scanner.k_space) / (FERMI * scanner.k_space))) ** 2
    assert within == pytest.approx((power * np.cos(2 * np.pi * frequency)).sum() / power.sum(), abs=0.03)
    assert (lags[0] / rest.var() > 0.4) == (scanner.through_plane > 0)


def test_white_matter_fluctuates_over_a_voxel_as_in_real_heads():
    """Noise and tissue together, without a bias field; the median over scanners and heads lies between the 10th and
    90th percentile of real heads, as `phantom_realism.py` measures it."""
    lags = []
    for seed in (4, 5, 6):
        patient = sample_patient(PhantomSpec(seed=seed, lesions=1))
        grid = Grid((56, 56, 40), (1.0, 1.0, 1.0), (4.0, -30.0, 15.0))
        ideal = render_head(patient.anatomy, grid, to_head=patient.to_head)
        white = np.abs(ideal / WHITE - 1) < 0.06
        assert white.sum() > 2000
        for name in SCANNERS:
            image = scanned(SCANNERS[name], lambda on, p=patient: render_head(p.anatomy, on, to_head=p.to_head), grid)
            rest = image - np.median(image[white])
            pairs = [(np.moveaxis(rest, a, 0), np.moveaxis(white, a, 0)) for a in range(3)]
            both = [(v[1:][w[1:] & w[:-1]], v[:-1][w[1:] & w[:-1]]) for v, w in pairs]
            lags.append(np.mean([np.corrcoef(a, b)[0, 1] for a, b in both]))
    assert 0.59 <= np.median(lags) <= 0.71


def test_a_perfect_scanner_changes_nothing():
    x = np.linspace(0, 1.4, GRID.size[0], dtype=np.float32)
    image = scanned(changed(k_space=40.0), lambda grid: np.broadcast_to(x, grid.shape).copy())
    np.testing.assert_allclose(image, np.broadcast_to(x, image.shape), atol=1e-4)


def test_the_point_spread_widens_an_edge_by_its_standard_deviation():
    def step(grid):
        return np.where(grid.points()[..., 0] < 48, 0.6, 0.74).astype(np.float32)

    edge = np.diff(scanned(changed(psf_mm=0.8, k_space=40.0), step)[20, 40, 30:66])
    place = np.arange(len(edge))
    center = (edge * place).sum() / edge.sum()
    assert np.sqrt((edge * (place - center) ** 2).sum() / edge.sum()) == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize(("share", "expected"), [(1.0, 1 / 3), (1 / 3, 1.0)])
def test_a_slice_is_the_mean_over_its_thickness(share, expected):
    """A sheet of 1 mm in the middle of slices of 3 mm fills a third of a whole slice, and all of a thin one."""
    thick = Grid((32, 32, 7), (1.0, 1.0, 3.0), (0.0, 0.0, 0.0))

    def sheet(grid):
        return np.where(np.abs(grid.points()[..., 2] - 9.0) < 0.5, WHITE, 0.36).astype(np.float32)

    image = scanned(changed(slice_share=share, k_space=40.0), sheet, thick)[:, 16, 16]
    filled = (image - 0.36) / (WHITE - 0.36)
    np.testing.assert_allclose(filled, [0, 0, 0, expected, 0, 0, 0], atol=0.02)


def test_contrast_moves_tissue_and_enhancement_but_not_fluid():
    values = np.asarray([0.2, 0.56, WHITE, 1.2], np.float32)
    image = scanned(
        changed(contrast=0.5, enhancement=1.2, k_space=40.0),
        lambda grid: np.broadcast_to(np.repeat(values, 24), grid.shape).copy(),
    )[20, 40, 12::24]
    np.testing.assert_allclose(image, [0.2, WHITE - 0.5 * 0.18, WHITE, WHITE + 1.2 * 0.46], atol=1e-3)


def test_bias_motion_and_zero_filling_have_their_own_effect():
    biased = scanned(changed(bias=0.2, k_space=40.0), bias=lambda grid: np.full(grid.shape, 0.5, np.float32))
    assert biased.mean() == pytest.approx(1.1 * WHITE, rel=1e-3)

    def step(grid):
        return np.where(grid.points()[..., 1] < 40, 0.4, 0.74).astype(np.float32)

    sharp, ringing, moved = (
        scanned(changed(**values), step)[20, :, 40] for values in ({"k_space": 40.0}, {"k_space": 0.5},
                                                                    {"k_space": 40.0, "motion_mm": 1.5})
    )  # fmt: skip
    assert sharp.max() == pytest.approx(0.74, abs=1e-3)
    assert ringing.max() > 0.75
    assert np.abs(moved - sharp).max() > 0.02


def test_sessions_of_one_scanner_differ_and_follow_the_seed():
    rng = [np.random.default_rng(4) for _ in range(2)]
    first, again = (scanner_of("se-3t", r) for r in rng)
    assert first == again
    assert scanner_of("se-3t", rng[0]) != first
    assert {scanner_of("mixed", rng[0]).name for _ in range(40)} == set(SCANNERS)
    assert scanner_of("ideal", rng[0]) is None


@pytest.mark.slow
def test_one_patient_is_scanned_by_two_scanners():
    spec = PhantomSpec(
        seed=6, lesions=1, family="vessels", scanner="mprage-3t", columns=96, rows=112, slices=70,
        spacing_mm=(2.0, 2.0, 2.4),
    )  # fmt: skip
    patient = sample_patient(spec)
    grid = planning_grid(patient)
    own, again, other = (
        sitk.GetArrayFromImage(render_mr(patient, grid, scanner=scanner)).astype(float)
        for scanner in (None, None, SCANNERS["se-1.5t"])
    )
    np.testing.assert_array_equal(own, again)
    head = own > np.percentile(own, 60)
    assert np.corrcoef(own[head], other[head])[0, 1] > 0.9
    assert np.abs(own / own[head].mean() - other / other[head].mean())[head].mean() > 0.01


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("se-1.5t", ("T1 SE +C", "SE", "2D", 1.5)),
        ("mprage-3t", ("T1 MPRAGE +C", "GR", "3D", 3.0)),
        ("ideal", ("T1 MPRAGE +C", "GR", "3D", None)),
    ],
)
def test_the_header_names_the_sequence_of_the_scanner(tmp_path, name, header):
    small = {"columns": 64, "rows": 72, "slices": 24, "spacing_mm": (3.2, 3.0, 6.0)}
    patient = sample_patient(PhantomSpec(seed=3, lesions=1, scanner=name, follow_up=False, **small))
    write_patient(patient, tmp_path, truth=False)
    data = pydicom.dcmread(next((tmp_path / "dicom/t1c").iterdir()), stop_before_pixels=True)
    field = data.get("MagneticFieldStrength")
    found = (
        data.SeriesDescription,
        data.ScanningSequence,
        data.MRAcquisitionType,
        None if field is None else float(field),
    )
    assert found == header
