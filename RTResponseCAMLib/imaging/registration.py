"""Rigid registration of a follow-up MR to the planning MR by mutual information, with quality measures.

The metric is Mattes mutual information [Mattes et al., IEEE TMI 22 (2003) 120], sampled inside the head, in a
coarse-to-fine scheme. To measure the quality, the last level runs a second time with other random samples, and the two
results are compared. The levels are a loop in this module, because SimpleITK's multi-resolution schedule supports
neither iterations per level nor several starts, of which the coarse level selects the best.
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
    """Rigid transform from planning points to follow-up points (LPS, mm), with its quality measures.

    Attributes
    ----------
    to_follow_up : transform, 4 × 4.
    method : "frame" (same frame of reference, refined), "moments" (refined), "DICOM", or "manual".
    disagreement_mm : largest difference of two independent estimates over the head, mm; None without a second estimate.
    similarity : correlation of the gradient magnitudes of both heads after registration, −1…1.
    overlap : fraction of the planning head inside the follow-up's field of view, 0…1.
    warnings : warnings about the registration quality.
    """

    to_follow_up: Matrix
    method: str
    disagreement_mm: float | None
    similarity: float
    overlap: float
    warnings: tuple[Warning, ...] = ()

    @property
    def to_plan(self) -> Matrix:
        """Return the inverse transform, from follow-up points to planning points."""
        return np.asarray(np.linalg.inv(self.to_follow_up), dtype=np.float64)


def register_rigidly(
    planning: sitk.Image, follow_up: sitk.Image, *, same_frame: bool = False, progress: Progress = no_progress
) -> Registration:
    """Return the rigid registration of the planning MR to a follow-up MR.

    The starts are the common frame of reference (if ``same_frame``) and the aligned head centers with rotations in
    steps. The start with the best metric is refined.

    Raises
    ------
    GeometryError : the result is not reliable: the overlap is too small, two estimates differ by more than 1 mm, or the
        heads are not similar. In this case, the user can provide a transform.
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
        # A few starts are sufficient for most heads; more are used only if the result is not reliable.
        attempt_progress = subprogress(
            progress, 1 - 0.9**attempt, 1 - 0.9 ** (attempt + 1) if attempt < len(STARTS) - 1 else 1.0
        )
        for start_index in range(len(refined), min(count, len(starts))):
            attempt_progress(0.5 * start_index / count, "aligning the head")
            refined.append(_refined(coarse, starts[start_index]))
        _, method, transform = min(refined, key=lambda item: item[0])
        try:
            registration = _from_start(
                fixed, moving, mask, planning, transform, method, subprogress(attempt_progress, 0.5, 1.0)
            )
        except GeometryError as error:
            failure = error
            continue
        if not registration.warnings and (registration.disagreement_mm or 0.0) <= GOOD_DISAGREEMENT_MM:
            return registration
        flagged = registration
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
    """Return the coarse-to-fine registration from one start; the last level runs twice, with different samples."""
    steps = len(LEVELS) + 1
    for level_index, (voxel_mm, samples, iterations) in enumerate(LEVELS):
        progress(level_index / steps, "registering")
        level, before = _at_level(fixed, moving, mask, voxel_mm), transform
        transform = _refine(level, before, voxel_mm, samples, iterations, SEED)
    progress((steps - 1) / steps, "checking the registration")
    second = _refine(level, before, *LEVELS[-1], SEED + 1)
    first_matrix, second_matrix = as_matrix(transform), as_matrix(second)
    disagreement = largest_difference_mm(first_matrix, second_matrix, image=planning)
    agreed = disagreement <= GOOD_DISAGREEMENT_MM
    registration = _judged(
        (first_matrix + second_matrix) / 2 if agreed else first_matrix, method, disagreement, fixed, moving, mask
    )
    progress(1.0)
    return registration


def accept_transform(planning: sitk.Image, follow_up: sitk.Image, *, matrix: Matrix, method: str) -> Registration:
    """Return a registration with the quality measures of an external transform (DICOM registration or manual).

    Raises
    ------
    GeometryError : the transform is not rigid, or the images do not overlap after it is applied.
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
    transform: Matrix | None = None,
    progress: Progress = no_progress,
) -> Registration:
    """Return the registration of the plan to a follow-up.

    Order of preference: the given transform, a DICOM registration, automatic registration.

    Raises
    ------
    GeometryError : see `register_rigidly` and `accept_transform`.
    """
    if transform is not None:
        return accept_transform(study.mr, image, matrix=transform, method="manual")
    if follow_up.to_plan is not None:
        matrix = np.linalg.inv(np.asarray(follow_up.to_plan))
        return accept_transform(study.mr, image, matrix=np.asarray(matrix, dtype=np.float64), method="DICOM")
    return register_rigidly(study.mr, image, same_frame=follow_up.same_frame, progress=progress)


def largest_difference_mm(first: Matrix, second: Matrix, *, image: sitk.Image) -> float:
    """Return the largest difference of two transforms, mm, on a sphere of 80 mm radius around the image center."""
    grid = Grid.of(image)
    middle = grid.to_lps((np.asarray([grid.size]) - 1) / 2)[0]
    points = middle + 80.0 * np.asarray([[s * (n == axis) for n in range(3)] for axis in range(3) for s in (-1, 1)])
    return float(np.linalg.norm(moved_points(first, points) - moved_points(second, points), axis=1).max())


def _ranked_starts(level: Level, same_frame: bool) -> list[Start]:
    """Return the starts with aligned head centers and rotations in steps, sorted by metric, the best first.

    The common frame of reference comes before all others.
    """
    center, moving_center = head_center(level[2]), head_center(head_mask(level[1]))
    scored: list[Start] = []
    for angles in itertools.product(TURNS_DEG, repeat=3):
        start = sitk.Euler3DTransform(center.tolist(), *np.radians(angles).tolist(), (moving_center - center).tolist())
        scored.append((_metric(level, start), "moments", start))
    scored.sort(key=lambda item: item[0])
    if same_frame:
        start = sitk.Euler3DTransform()
        start.SetCenter(center.tolist())
        scored.insert(0, (_metric(level, start), "frame", start))
    return scored


def _refined(level: Level, start: Start) -> Start:
    """Return a start after a short optimization on coarse voxels, with its metric."""
    _, method, transform = start
    try:
        end = _refine(level, transform, COARSE_MM, COARSE_SAMPLES, 60, SEED)
    except GeometryError:  # this start fails, others may succeed
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
    # The sampling fraction refers to all voxels; samples outside the mask are then discarded.
    method.SetMetricSamplingPercentage(min(samples / head / small.GetNumberOfPixels(), 1.0), seed)
    method.SetMetricFixedMask(inside)
    method.SetInterpolator(sitk.sitkLinear)
    # Gradients are computed at the samples only: filtering whole images would take most of the run time.
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
    except RuntimeError as error:  # all samples are outside: the start is unusable
        raise GeometryError(
            "the follow-up", "does not overlap the planning MR from any start", "Provide a transform"
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
    small, moving_small, inside = _at_level(fixed, moving, mask, 3.0)
    head = sitk.GetArrayViewFromImage(inside) > 0
    field = sitk.Resample(_ones(moving_small), small, transform, sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    common = head & (sitk.GetArrayViewFromImage(field) > 0)
    overlap = float(common.sum() / max(head.sum(), 1))
    moved = sitk.Resample(moving_small, small, transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    edges = [sitk.GetArrayFromImage(sitk.GradientMagnitudeRecursiveGaussian(i, 2.0))[common] for i in (small, moved)]
    similarity = float(np.corrcoef(*edges)[0, 1]) if common.sum() > 100 else 0.0
    fix = "Check that both are heads of the same patient, or provide a transform"
    if overlap < MIN_OVERLAP:
        raise GeometryError("the follow-up", f"covers only {100 * overlap:.0f} % of the planning head", fix)
    if disagreement is not None and disagreement > MAX_DISAGREEMENT_MM:
        problem = f"the registration did not converge: two estimates differ by {disagreement:.1f} mm"
        raise GeometryError("the follow-up", problem, fix)
    warnings: tuple[Warning, ...] = ()
    problem = f"does not resemble the planning head after registration (edge correlation {similarity:.2f})"
    if not similarity > MIN_SIMILARITY and disagreement is not None:
        raise GeometryError("the follow-up", problem, fix)
    if not similarity > GOOD_SIMILARITY:
        warnings = (WarningCode.WEAK_REGISTRATION(similarity=similarity),)
    return Registration(as_matrix(transform), method, disagreement, similarity, overlap, warnings)


def _ones(image: sitk.Image) -> sitk.Image:
    return sitk.Cast(image * 0 + 1, sitk.sitkUInt8)
