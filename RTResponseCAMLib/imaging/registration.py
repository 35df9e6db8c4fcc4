"""Rigid registration of a follow-up MR to the planning MR by mutual information, and how far to trust it.

Mattes mutual information [Mattes et al., IEEE TMI 22 (2003) 120], coarse to fine, inside the head. The quality is
measured, not hoped for: the last level is run a second time on other samples, and the two answers are compared. The
levels are a loop of our own: SimpleITK's schedules per level know neither iterations nor several starts, of which the
coarse level keeps the best.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.head import evened_head, head_center, head_mask
from RTResponseCAMLib.imaging.resample import shrunk
from RTResponseCAMLib.imaging.rigid import Matrix, as_matrix, as_transform, is_rigid, moved_points
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.study import FollowUp, Study
from RTResponseCAMLib.warnings import Warning, WarningCode

LEVELS = ((4.0, 10_000, 80), (2.0, 10_000, 40), (1.0, 10_000, 30))  # voxel mm, samples in the head, iterations
COARSE_MM, COARSE_SAMPLES = 8.0, 3_000
TURNS_DEG = (-18.0, -9.0, 0.0, 9.0, 18.0)
BINS = 40
MIN_OVERLAP = 0.6
MAX_DISAGREEMENT_MM = 1.0
MIN_SIMILARITY, GOOD_SIMILARITY = 0.4, 0.8
STARTS = (4, 24, 48)
GOOD_DISAGREEMENT_MM = 0.5
SEED = 11
Level = tuple[sitk.Image, sitk.Image, sitk.Image]
Start = tuple[float, str, sitk.Euler3DTransform]


@dataclass(frozen=True)
class Registration:
    """A rigid map of planning points (LPS, mm) onto follow-up points.

    Attributes
    ----------
    to_follow_up : 4 × 4.
    method : "frame" (same frame of reference, refined), "moments" (refined), "DICOM", or "manual".
    disagreement_mm : largest difference of two independent estimates over the head; None when none was made.
    similarity : correlation of the gradient magnitudes of both heads after the map, −1…1.
    overlap : share of the planning head that the follow-up's field of view holds, 0…1.
    warnings : what the reader must know.
    """

    to_follow_up: Matrix
    method: str
    disagreement_mm: float | None
    similarity: float
    overlap: float
    warnings: tuple[Warning, ...] = ()

    @property
    def to_plan(self) -> Matrix:
        """The inverse: follow-up points onto planning points."""
        return np.asarray(np.linalg.inv(self.to_follow_up), dtype=np.float64)


def register_rigidly(
    planning: sitk.Image, follow_up: sitk.Image, *, same_frame: bool = False, progress: Progress = no_progress
) -> Registration:
    """Find the rigid map of the planning MR onto a follow-up MR.

    Starts from the common frame of reference when ``same_frame``, and from aligned centers, turned in steps; what fits
    best is refined.

    Raises
    ------
    GeometryError : the result cannot be trusted: too little overlap, two estimates that disagree by more than
        1 mm, or heads that do not resemble each other. A transform of the user's own is the way out.
    """
    progress(0.0, "preparing the heads")
    fixed, moving = evened_head(planning), evened_head(follow_up)
    mask = head_mask(fixed)
    coarse = _at_level(fixed, moving, mask, COARSE_MM)
    starts = _ranked_starts(coarse, same_frame)
    refined: list[Start] = []
    failure: GeometryError | None = None
    flagged: Registration | None = None
    for attempt, count in enumerate(STARTS):
        # Few starts find most heads; more are tried only where the answer cannot be trusted.
        share = subprogress(progress, 1 - 0.9**attempt, 1 - 0.9 ** (attempt + 1) if attempt < len(STARTS) - 1 else 1.0)
        for number in range(len(refined), min(count, len(starts))):
            share(0.5 * number / count, "looking for the head")
            refined.append(_refined(coarse, starts[number]))
        _, method, transform = min(refined, key=lambda item: item[0])
        try:
            found = _from_start(fixed, moving, mask, planning, transform, method, subprogress(share, 0.5, 1.0))
        except GeometryError as error:
            failure = error
            continue
        if not found.warnings and (found.disagreement_mm or 0.0) <= GOOD_DISAGREEMENT_MM:
            return found
        flagged = found
    if flagged is None:
        assert failure is not None
        raise failure
    return flagged


def _from_start(
    fixed: sitk.Image,
    moving: sitk.Image,
    mask: sitk.Image,
    planning: sitk.Image,
    transform: sitk.Euler3DTransform,
    method: str,
    progress: Progress,
) -> Registration:
    """Coarse to fine from one start; the last level twice, on different samples."""
    steps = len(LEVELS) + 1
    for number, (voxel_mm, samples, iterations) in enumerate(LEVELS):
        progress(number / steps, "registering")
        level, before = _at_level(fixed, moving, mask, voxel_mm), transform
        transform = _refine(level, before, voxel_mm, samples, iterations, SEED)
    progress((steps - 1) / steps, "checking the registration")
    second = _refine(level, before, *LEVELS[-1], SEED + 1)
    one, two = as_matrix(transform), as_matrix(second)
    disagreement = largest_difference_mm(one, two, image=planning)
    agreed = disagreement <= GOOD_DISAGREEMENT_MM
    found = _judged((one + two) / 2 if agreed else one, method, disagreement, fixed, moving, mask)
    progress(1.0)
    return found


def accept_transform(planning: sitk.Image, follow_up: sitk.Image, *, matrix: Matrix, method: str) -> Registration:
    """Take a map that someone else made (a DICOM registration, or by hand), and say how well it fits.

    Raises
    ------
    GeometryError : the map is not rigid, or the images do not overlap under it.
    """
    if not is_rigid(matrix):
        raise GeometryError("the transform", "is not rigid (rotation and translation)", "Give a rigid transform")
    fixed, moving = evened_head(planning), evened_head(follow_up)
    return _judged(matrix, method, None, fixed, moving, head_mask(fixed))


def register_follow_up(
    study: Study,
    follow_up: FollowUp,
    *,
    image: sitk.Image,
    given: Matrix | None = None,
    progress: Progress = no_progress,
) -> Registration:
    """Map the plan onto a follow-up: as given, by a DICOM registration, or by finding it, in this order.

    Raises
    ------
    GeometryError : see `register_rigidly` and `accept_transform`.
    """
    if given is not None:
        return accept_transform(study.mr, image, matrix=given, method="manual")
    if follow_up.to_plan is not None:
        matrix = np.linalg.inv(np.asarray(follow_up.to_plan))
        return accept_transform(study.mr, image, matrix=np.asarray(matrix, dtype=np.float64), method="DICOM")
    return register_rigidly(study.mr, image, same_frame=follow_up.same_frame, progress=progress)


def largest_difference_mm(one: Matrix, other: Matrix, *, image: sitk.Image) -> float:
    """Largest distance of two maps over a ball of 80 mm about the image's middle, mm."""
    grid = Grid.of(image)
    middle = grid.to_lps((np.asarray([grid.size]) - 1) / 2)[0]
    points = middle + 80.0 * np.asarray([[s * (n == axis) for n in range(3)] for axis in range(3) for s in (-1, 1)])
    return float(np.linalg.norm(moved_points(one, points) - moved_points(other, points), axis=1).max())


def _ranked_starts(level: Level, same_frame: bool) -> list[Start]:
    """Centers of both heads laid on one another and turned in steps, best first; the common frame before all."""
    center, other = head_center(level[2]), head_center(head_mask(level[1]))
    scored: list[Start] = []
    for angles in itertools.product(TURNS_DEG, repeat=3):
        start = sitk.Euler3DTransform(center.tolist(), *np.radians(angles).tolist(), (other - center).tolist())
        scored.append((_metric(level, start), "moments", start))
    scored.sort(key=lambda item: item[0])
    if same_frame:
        start = sitk.Euler3DTransform()
        start.SetCenter(center.tolist())
        scored.insert(0, (_metric(level, start), "frame", start))
    return scored


def _refined(level: Level, start: Start) -> Start:
    """A start after a short run on coarse voxels, with the metric that it reaches."""
    _, method, transform = start
    try:
        end = _refine(level, transform, COARSE_MM, COARSE_SAMPLES, 60, SEED)
    except GeometryError:  # this start is hopeless, others may not be
        return 0.0, method, transform
    return _metric(level, end), method, end


def _at_level(fixed: sitk.Image, moving: sitk.Image, mask: sitk.Image, voxel_mm: float) -> Level:
    small = shrunk(fixed, voxel_mm)
    inside = sitk.Resample(mask, small, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    return small, shrunk(moving, voxel_mm), inside


def _method(level: Level, samples: int, seed: int) -> sitk.ImageRegistrationMethod:
    small, _, inside = level
    head = max(float(sitk.GetArrayViewFromImage(inside).mean()), 1e-3)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    # The share is of all voxels, of which those outside the mask are then dropped.
    method.SetMetricSamplingPercentage(min(samples / head / small.GetNumberOfPixels(), 1.0), seed)
    method.SetMetricFixedMask(inside)
    method.SetInterpolator(sitk.sitkLinear)
    # Gradients at the samples only: filtering whole images for them would take most of the time.
    method.SetMetricUseMovingImageGradientFilter(False)
    method.SetMetricUseFixedImageGradientFilter(False)
    return method


def _refine(
    level: Level, start: sitk.Euler3DTransform, voxel_mm: float, samples: int, iterations: int, seed: int
) -> sitk.Euler3DTransform:
    method = _method(level, samples, seed)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=voxel_mm / 2, minStep=0.002, numberOfIterations=iterations, relaxationFactor=0.8,
        gradientMagnitudeTolerance=1e-8,
    )  # fmt: skip
    method.SetOptimizerScalesFromPhysicalShift()
    transform = sitk.Euler3DTransform(start)
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(level[0], level[1])
    except RuntimeError as error:  # all samples outside: the start was hopeless
        raise GeometryError(
            "the follow-up", "does not overlap the planning MR from any start", "Give a transform of your own"
        ) from error
    return transform


def _metric(level: Level, transform: sitk.Transform) -> float:
    method = _method(level, COARSE_SAMPLES, SEED)
    method.SetInitialTransform(transform)
    try:
        return float(method.MetricEvaluate(level[0], level[1]))
    except RuntimeError:
        return 0.0


def _judged(
    matrix: Matrix,
    method: str,
    disagreement: float | None,
    fixed: sitk.Image,
    moving: sitk.Image,
    mask: sitk.Image,
) -> Registration:
    transform = as_transform(matrix)
    small, other, inside = _at_level(fixed, moving, mask, 3.0)
    head = sitk.GetArrayViewFromImage(inside) > 0
    field = sitk.Resample(_ones(other), small, transform, sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    common = head & (sitk.GetArrayViewFromImage(field) > 0)
    overlap = float(common.sum() / max(head.sum(), 1))
    moved = sitk.Resample(other, small, transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    edges = [sitk.GetArrayFromImage(sitk.GradientMagnitudeRecursiveGaussian(i, 2.0))[common] for i in (small, moved)]
    similarity = float(np.corrcoef(*edges)[0, 1]) if common.sum() > 100 else 0.0
    fix = "Check that both are heads of the same patient, or give a transform of your own"
    if overlap < MIN_OVERLAP:
        raise GeometryError("the follow-up", f"covers only {100 * overlap:.0f} % of the planning head", fix)
    if disagreement is not None and disagreement > MAX_DISAGREEMENT_MM:
        what = f"the registration did not converge: two estimates differ by {disagreement:.1f} mm"
        raise GeometryError("the follow-up", what, fix)
    warnings: tuple[Warning, ...] = ()
    what = f"does not resemble the planning head after registration (edge correlation {similarity:.2f})"
    if not similarity > MIN_SIMILARITY and disagreement is not None:
        raise GeometryError("the follow-up", what, fix)
    if not similarity > GOOD_SIMILARITY:
        warnings = (WarningCode.WEAK_REGISTRATION(similarity=similarity),)
    return Registration(as_matrix(transform), method, disagreement, similarity, overlap, warnings)


def _ones(image: sitk.Image) -> sitk.Image:
    return sitk.Cast(image * 0 + 1, sitk.sitkUInt8)
