"""The map adds up to the prediction; batches, places and seeds do not change the answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from fitted import plain_model, predictions_of

from RTResponseCAMLib.cam.volume import evidence_volume
from RTResponseCAMLib.dicom.load import load_study
from RTResponseCAMLib.imaging.fraction import fraction_inside
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.models.calibration import CalibratedModel
from RTResponseCAMLib.models.scale_space import classifier, training
from RTResponseCAMLib.models.scale_space.classifier import Architecture, AutoencoderClassifier
from RTResponseCAMLib.models.scale_space.stem import DEPTH_TERMS, STEM_CHANNELS, stem_features
from RTResponseCAMLib.models.scale_space.training import PreparedLesion, Schedule, fit
from RTResponseCAMLib.study import Structure
from RTResponseCAMLib.workflow.predict import predict_study


def untrained(**parts) -> CalibratedModel:
    torch.manual_seed(3)
    network = AutoencoderClassifier(Architecture(members=3, code_members=3, **parts)).eval()
    with torch.no_grad():
        network.volume_slope.copy_(torch.tensor([0.4, -0.2, 0.1] * (len(network.volume_slope) // 3)))
    return plain_model(network, 1.7, -0.3)


@pytest.mark.parametrize(
    "parts", [{}, {"autoencoder": False}, {"dose": True}, {"volume": False}, {"shrinkage_volume_cc": 0.5}]
)
def test_the_map_adds_up_to_the_prediction(patches, parts):
    model = untrained(**parts)
    for evidence in predictions_of(model, patches):
        assert float(evidence.map.sum(dtype=np.float64)) + evidence.bias == pytest.approx(evidence.total, abs=1e-4)
        p = 1 / (1 + np.exp(evidence.total))
        assert evidence.p_response == pytest.approx(p, abs=1e-6)


def test_the_volumes_part_of_the_bias_is_the_volumes_alone(patches):
    """The same signal in a lesion: what the volume adds follows its logarithm; without it nothing is added."""
    model, plain = untrained(), untrained(volume=False)
    found = [e.from_volume for e in predictions_of(model, patches)]
    logs = [float(np.log(p.fraction.sum() / 1000)) for p in patches]
    assert np.corrcoef(found, logs)[0, 1] == pytest.approx(1.0, abs=1e-6)
    assert all(e.from_volume == 0 for e in predictions_of(plain, patches))


@pytest.mark.parametrize("mr_voxel_volume_ratio", [1.0, 5.1])
def test_evidence_of_few_voxels_is_drawn_towards_none(patches, mr_voxel_volume_ratio):
    """By V / (V + half_cc): of the evidence, not of what volume and the offset say."""
    plain, drawn = untrained(), untrained(shrinkage_volume_cc=0.5)
    for patch in (replace(patch, mr_spacing_mm=(1.0, 1.0, mr_voxel_volume_ratio)) for patch in patches):
        volume_cc = float(patch.fraction.sum()) / 1000
        tensors = [torch.from_numpy(a)[None, None] for a in (patch.mr, patch.fraction, patch.dose)]
        with torch.inference_mode():
            one, other = plain.fitted.network(*tensors), drawn.fitted.network(*tensors, patch.mr_voxel_volume_ratio)
            rest = plain.fitted.network.offset + plain.fitted.network.volume_slope * plain.fitted.network.log_volume(
                tensors[1]
            )
        kept = ((other.total - rest) / (one.total - rest)).numpy()
        assert kept == pytest.approx(volume_cc / (volume_cc + 0.5 * mr_voxel_volume_ratio), rel=1e-3)
        (evidence,) = predictions_of(drawn, [patch])
        assert evidence.total == pytest.approx(1.7 * float(other.total.mean()) - 0.3, abs=1e-4)


def test_the_shipped_models_map_adds_up(shipped, patches):
    for evidence in predictions_of(shipped, patches):
        assert abs(float(evidence.map.sum(dtype=np.float64)) + evidence.bias - evidence.total) < 1e-4


def test_evidence_lies_inside_the_lesion(shipped, patches):
    for patch, evidence in zip(patches, predictions_of(shipped, patches), strict=True):
        assert (evidence.map[patch.fraction == 0] == 0).all()
        assert np.abs(evidence.map).sum() > 0


def test_a_batch_of_n_equals_n_singles(shipped, patches):
    doubled = [*patches, *patches[::-1]]
    together = predictions_of(shipped, doubled)
    for patch, batched in zip(doubled, together, strict=True):
        (alone,) = predictions_of(shipped, [patch])
        np.testing.assert_allclose(batched.map, alone.map, atol=1e-6)
        assert batched.total == pytest.approx(alone.total, abs=1e-4)


def test_a_lesion_judged_in_pieces_is_judged_as_in_one(shipped, patches, monkeypatch):
    (whole,) = predictions_of(shipped, patches[:1])
    monkeypatch.setattr(classifier, "ROWS", 100)
    (pieces,) = predictions_of(shipped, patches[:1])
    assert np.count_nonzero(whole.map) > 300
    np.testing.assert_allclose(pieces.map, whole.map, atol=1e-6)
    assert pieces.total == pytest.approx(whole.total, abs=1e-6)


@pytest.mark.slow
def test_moving_the_patient_moves_the_map_and_nothing_else(shipped, study):
    """MR and contours moved together by any vector: same evidence, at the moved place."""
    shift = np.array([13.37, -8.21, 5.05])
    moved_mr = sitk.Image(study.mr)
    moved_mr.SetOrigin((np.array(study.mr.GetOrigin()) + shift).tolist())

    def moved(structure: Structure) -> Structure:
        return replace(structure, contours=tuple(c + shift for c in structure.contours))

    other = replace(
        study,
        mr=moved_mr,
        dose=None,
        structures=tuple(moved(s) for s in study.structures),
        lesions=tuple(replace(x, structure=moved(x.structure)) for x in study.lesions),
    )
    before, after = predict_study(replace(study, dose=None), shipped), predict_study(other, shipped)
    for one, two in zip(before.predictions, after.predictions, strict=True):
        assert two.total == pytest.approx(one.total, abs=2e-3)
        np.testing.assert_allclose(np.subtract(two.evidence.GetOrigin(), one.evidence.GetOrigin()), shift, atol=1e-6)
        a, b = (sitk.GetArrayViewFromImage(p.evidence) for p in (one, two))
        assert np.abs(a - b).max() < 0.02 * np.abs(a).max()


def test_a_shift_inside_the_patch_shifts_the_map(shipped, patches):
    """The whole network is equivariant, away from the border."""
    patch = patches[-1]
    wide = [np.pad(a, 24, mode="edge") for a in (patch.mr, patch.fraction)]
    rolled = [np.roll(a, (4, -4, 4), (0, 1, 2)) for a in wide]
    with torch.inference_mode():
        one, two = (
            shipped.model.fitted.network(*(torch.from_numpy(a.copy())[None, None] for a in pair)).maps[0].numpy()
            for pair in (wide, rolled)
        )
    np.testing.assert_allclose(np.roll(one, (4, -4, 4), (1, 2, 3)), two, atol=2e-4 * np.abs(one).max() + 1e-7)


def test_the_stem_does_not_know_left_from_right(patches):
    mr, occupancy_ = (torch.from_numpy(a)[None, None] for a in (patches[0].mr, patches[0].fraction))
    turned = stem_features(torch.flip(mr, [3]).transpose(2, 4), torch.flip(occupancy_, [3]).transpose(2, 4), 1.0)
    straight = torch.flip(stem_features(mr, occupancy_, 1.0), [3]).transpose(2, 4)
    assert turned.shape[1] == STEM_CHANNELS + DEPTH_TERMS
    inside = (torch.flip(occupancy_, [3]).transpose(2, 4) > 0.05).expand_as(turned)
    torch.testing.assert_close(turned[inside], straight[inside], atol=2e-3, rtol=1e-3)


def test_the_volume_on_the_mr_averages_to_the_lesions_logit(shipped, study, patches):
    structures = [x.structure for x in study.lesions]
    evidences = predictions_of(shipped, patches)
    cam, above = evidence_volume(
        Grid.of(study.mr), structures, patches=patches, evidences=evidences, subregion_threshold=0.0
    )
    values, labels = sitk.GetArrayFromImage(cam), sitk.GetArrayFromImage(above)
    for structure, evidence in zip(structures, evidences, strict=True):
        weight = fraction_inside(structure, Grid.of(cam)) * (values != 0)
        mean = float((values * weight).sum() / weight.sum())
        assert mean == pytest.approx(evidence.total, abs=0.15)
    assert ((labels > 0) == (values > 0)).all()


def test_the_map_lies_where_the_subregion_is(shipped, study_folder, result):
    """On the planted truth: evidence inside the resistant part exceeds evidence in the rest of the lesion."""
    study = load_study(study_folder)
    resistant = sitk.ReadImage(str(study_folder / "truth" / "resistant_planning.nrrd"))
    cam = sitk.GetArrayFromImage(result.cam)
    truth = sitk.GetArrayFromImage(
        sitk.Resample(resistant, result.cam, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    )
    inside = cam != 0
    assert len(study.lesions) == 3
    assert cam[inside & (truth > 0)].mean() > cam[inside & (truth == 0)].mean() + 0.3


def test_the_autoencoder_draws_what_varies_within_lesions_better_than_any_other_axes():
    """The drawing from a code of 4 misses less of lesions it learned from than one from four random axes."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(4, STEM_CHANNELS)).astype(np.float32)

    def lesion(n: int) -> PreparedLesion:
        noise = 0.1 * rng.normal(size=(300, STEM_CHANNELS))
        varied = torch.from_numpy((rng.normal(size=(300, 4)) @ mixing + noise).astype("f4"))
        varied = torch.cat([varied, torch.ones(300, 1), torch.zeros(300, DEPTH_TERMS - 1)], dim=1)
        return PreparedLesion(varied, varied, torch.zeros(300, 1), np.arange(1, 301) / 300, 1.0, n % 2, f"p{n}")

    lesions = [lesion(n) for n in range(6)]
    network = fit(lesions, Architecture(members=1, code_members=1, code=4), schedule=Schedule(steps=2))
    with torch.no_grad():
        shown = network.standardized(lesions[0].surroundings).T[None, :, :, None, None]
        code = network.encode(shown) + network.encode_offset[:, None, None, None]
        missed = float(((network.reconstruct(code) - shown) ** 2).mean() / (shown**2).mean())
    assert missed < 0.02  # four axes hold all but the noise


def lesions_of_a_table(count: int, seed: int, logit_of) -> list[PreparedLesion]:
    """Lesions of 60 voxels of noise around a mean of each channel; the label is drawn from that mean and the size."""
    rng = np.random.default_rng(seed)
    lesions = []
    for number in range(count):
        mean, size = rng.normal(size=STEM_CHANNELS), rng.normal()
        own = mean + rng.normal(size=(60, STEM_CHANNELS))
        depth = np.column_stack([np.ones(60), np.zeros((60, DEPTH_TERMS - 1))])
        table = torch.from_numpy(np.hstack([own, depth]).astype(np.float32))
        label = int(rng.random() < 1 / (1 + np.exp(-logit_of(mean, size))))
        share = np.arange(1, 61) / 60
        lesions.append(
            PreparedLesion(table, table, torch.zeros(60, 1), share, float(np.exp(size)), label, f"p{number}")
        )
    return lesions


@pytest.mark.slow
def test_what_volume_decides_is_learned_by_the_volumes_slope_within_the_usual_steps():
    """69 lesions whose voxels know nothing: a slope that starts at 0 must get near what volume is worth."""
    rng = np.random.default_rng(5)
    lesions = []
    for number in range(69):
        size = rng.normal()
        tables = [torch.from_numpy(rng.normal(size=(60, STEM_CHANNELS + DEPTH_TERMS)).astype(np.float32)) for _ in "fs"]
        label = int(rng.random() < 1 / (1 + np.exp(-3 * size)))
        share = np.arange(1, 61) / 60
        lesions.append(PreparedLesion(*tables, torch.zeros(60, 1), share, float(np.exp(size)), label, f"p{number}"))
    shape = Architecture(members=1, code_members=1)
    networks = [
        fit(lesions, shape, schedule=replace(Schedule(), volume_rate=rate)) for rate in (Schedule().volume_rate, 1)
    ]
    own, slow = (float(network.volume_slope.detach().mean()) for network in networks)
    assert own > 0.6
    assert own > 2 * slow


@pytest.mark.slow
def test_volume_that_decides_nothing_weighs_less_beside_evidence_than_its_training_gave_it(monkeypatch):
    """Five cohorts whose first channel decides: volume's weight beside the evidence falls, and never turns round."""
    before, after = [], []
    for seed in range(5):
        lesions = lesions_of_a_table(69, seed, lambda mean, _: 3 * mean[0])
        after.append(fit(lesions, Architecture(), schedule=Schedule()).volume_slope.detach().numpy())
        with monkeypatch.context() as without:
            without.setattr(training, "_limit_volume_weight", lambda *_: None)
            before.append(fit(lesions, Architecture(), schedule=Schedule()).volume_slope.detach().numpy())
    shares = np.asarray([a.mean() / b.mean() for a, b in zip(after, before, strict=True)])
    assert ((shares >= 0) & (shares <= 1)).all()
    assert shares.mean() < 0.8


@pytest.mark.slow
def test_evidence_that_left_out_lesions_fail_to_show_is_still_heard_beside_volume(monkeypatch):
    """Volume keeps its slope, evidence grows around its mean until it has its least worth beside it."""
    lesions = lesions_of_a_table(69, 3, lambda _, size: 2 * size)
    monkeypatch.setattr(training, "_logistic_slopes", lambda *_: (-0.2, 2.0))
    # As faint as this the mean over heads of logarithms is the logarithm of their mean, which the last line asks for.
    faint = replace(Schedule(), evidence_l2=0.02)
    heard = fit(lesions, Architecture(), schedule=faint)
    monkeypatch.setattr(training, "MIN_EVIDENCE_SLOPE", training.NO_EVIDENCE_SLOPE)
    unheard = fit(lesions, Architecture(), schedule=faint)
    assert torch.equal(heard.volume_slope, unheard.volume_slope)
    raised = (heard.slope - unheard.slope).detach().exp()
    assert float(raised.min()) > 1.2
    assert torch.allclose(raised, raised[:1].expand_as(raised))
    totals = np.array([[_total(network, lesion) for lesion in lesions] for network in (heard, unheard)])
    sizes = np.log([lesion.volume_cc for lesion in lesions])
    sizes = (sizes - sizes.mean()) / sizes.std()
    own = totals - float(heard.volume_slope.detach().mean()) * sizes
    assert own[0].std() == pytest.approx(float(raised[0]) * own[1].std(), rel=0.1)
    assert own[0].mean() == pytest.approx(own[1].mean(), abs=0.05)


def test_three_lesions_can_be_learned_from():
    """Bootstraps of one class, lesions that no head left out: nothing may run away."""
    lesions = [replace(lesion, label=int(n == 0)) for n, lesion in enumerate(lesions_of_a_table(3, 4, lambda *_: 0.0))]
    network = fit(lesions, Architecture(), schedule=Schedule(steps=20))
    for lesion in lesions:
        assert abs(_total(network, lesion)) < 5


def _total(network: AutoencoderClassifier, lesion: PreparedLesion) -> float:
    """Logit of a lesion whose voxels all count the same."""
    with torch.no_grad():
        found = [
            head(x)
            for (head, _, _), x in zip(
                network.head_inputs(torch.zeros(1), torch.zeros(1)),
                network.head_features(lesion.features, lesion.surroundings),
                strict=True,
            )
        ]
        evidence = torch.cat(found, dim=1).T[None, :, :, None, None]
        size = (np.log(lesion.volume_cc) - float(network.volume_mean)) / float(network.volume_deviation)
        total = network.pool(evidence, torch.ones_like(evidence[:, :1]), torch.tensor([size])).total.mean()
    return float(total)
