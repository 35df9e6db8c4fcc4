"""One synthetic patient in memory: planning MR, follow-up MR, targets, dose and ground truth."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.outlines import level_lines
from RTResponseCAMLib.phantom.anatomy import (
    Anatomy,
    depth_mm,
    head_coordinates,
    in_ventricles,
    render_head,
    sample_anatomy,
)
from RTResponseCAMLib.phantom.families import Family, Lesion, family_of, sample_realistic
from RTResponseCAMLib.phantom.families.properties import sample_volumes_cc
from RTResponseCAMLib.phantom.field import Array32, Array64
from RTResponseCAMLib.phantom.lesion import sample_lesion
from RTResponseCAMLib.phantom.real_head import RealHead, read_head
from RTResponseCAMLib.phantom.scanner import IDEAL, SCANNERS, Scanner, acquire, scanner_of
from RTResponseCAMLib.phantom.shots import TargetDose, plan_target
from RTResponseCAMLib.phantom.spec import PhantomSpec, Variant
from RTResponseCAMLib.study import Structure

VOLUME_CC = (0.05, 1.5, 15.0)  # smallest, most frequent (in the logarithm), largest
LESION_COUNTS = ((1, 0.55), (2, 0.25), (3, 0.12), (4, 0.05), (5, 0.03))
NOISE = 0.03
BOX_MARGIN_MM = 20.0
SKULL = "*Skull"
WHOLE = (slice(0, None),) * 3


@dataclass(frozen=True)
class Patient:
    """A synthetic patient; all images in their own scanner frames (LPS, mm).

    Attributes
    ----------
    to_head, follow_up_to_head : rigid transforms from scanner points to the head frame.
    days : time from planning to follow-up, days.
    scanner : scanner of all MR; None for the ideal one, or with a real head.
    head : real head in which the lesions lie; None for a synthetic one.
    """

    spec: PhantomSpec
    anatomy: Anatomy
    lesions: tuple[Lesion, ...]
    targets: tuple[TargetDose, ...]
    to_head: sitk.Transform
    follow_up_to_head: sitk.Transform
    days: int
    scanner: Scanner | None = None
    head: RealHead | None = None


def sample_patient(spec: PhantomSpec) -> Patient:
    """Sample a patient from the seed; renders no image, but reads that of a real head.

    Raises
    ------
    RTResponseError : there is no such family or scanner, a variant does not exist in the family, the brain has no room,
        or the real head cannot be used, see `read_head`.
    """
    anatomy, family = sample_anatomy(spec), family_of(spec.family)
    if family is None and spec.variant in (Variant.SCANNER, Variant.SITE):
        problem = f"'{spec.variant.value}' does not exist in the family 'coarse'"
        raise RTResponseError("--variant", problem, "Choose another family, or another variant")
    scanner = scanner_of(spec.scanner, spec.rng(4))
    head = _head(spec, anatomy)
    lesions = _sample_lesions(spec, anatomy, family, scanner, head)
    targets = tuple(plan_target(spec, lesion, number=n) for n, lesion in enumerate(lesions))
    rng = spec.rng(2)
    pose = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.0, 0.0, 0.0, (3.1, -2.4, 5.7))
    moved = sitk.Euler3DTransform(
        (0.0, 0.0, 0.0), *np.radians(rng.uniform(-8, 8, 3)).tolist(), rng.uniform(-10, 10, 3).tolist()
    )
    days = int(rng.integers(80, 105))
    if head is not None:
        return Patient(
            spec,
            anatomy,
            lesions,
            targets,
            head.to_head,
            sitk.CompositeTransform([moved, head.to_head]),
            days,
            None,
            head,
        )
    return Patient(spec, anatomy, lesions, targets, pose, moved, days, scanner)


def planning_grid(patient: Patient) -> Grid:
    """Grid of the planning MR: the head in the middle, slices tilted by ``spec.tilt_deg``; or that of the real head."""
    if patient.head is not None:
        return patient.head.grid
    spec = patient.spec
    angle = np.radians(spec.tilt_deg)
    turn = np.asarray([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    size = (spec.columns, spec.rows, spec.slices)
    middle = np.asarray(patient.to_head.GetInverse().TransformPoint((0.0, 0.0, -4.0)))
    corner = middle - (turn * np.asarray(spec.spacing_mm)) @ ((np.asarray(size) - 1) / 2)
    # DICOM stores positions as decimal strings: rounding here makes the ground truth match the files.
    x, y, z = np.round(corner, 4).tolist()
    return Grid(size, spec.spacing_mm, (x, y, z), tuple(np.round(turn, 9).ravel().tolist()))


def second_grid(patient: Patient) -> Grid:
    """Grid of the T2 series: different voxels and slices, same frame of reference."""
    grid = planning_grid(patient)
    step = grid.spacing_mm
    slices = int(grid.size[2] * step[2] / 1.5)
    x, y, z = grid.to_lps(np.asarray([[3.3, -2.6, 0.4 / step[2]]]))[0].tolist()
    return Grid((grid.size[0], grid.size[1], slices), (step[0], step[1], 1.5), (x, y, z), grid.direction)


def render_mr(
    patient: Patient,
    grid: Grid,
    *,
    follow_up: bool = False,
    t2: bool = False,
    days: int | None = None,
    scanner: Scanner | None = None,
) -> sitk.Image:
    """MR with lesions, as of a scanner; arbitrary units, uint16.

    Parameters
    ----------
    days : day of a visit before the follow-up: the change in lesion volume is proportional to time.
    scanner : another scanner than the patient's, for a second scan of the same day.
    """
    later = follow_up or days is not None
    to_head = patient.follow_up_to_head if later else patient.to_head

    def render(on: Grid) -> Array32:
        if patient.head is not None:
            smooth, noise = patient.head.on(on, to_head)
            image = smooth.copy()
        else:
            image = render_head(patient.anatomy, on, to_head=to_head, t2=t2)
        softness = float(np.mean(on.spacing_mm))
        for lesion in patient.lesions:
            current = lesion.later(1.0 if days is None else days / patient.days) if later else lesion
            box, points = _head_points(on, to_head, current, current.reach_mm + 4)
            image[box] = current.paint(image[box], points_mm=points, softness_mm=softness)
        if patient.head is not None:  # lesions are as blurred as the head
            return np.asarray(smooth + gaussian_filter(image - smooth, patient.head.psf) + noise, dtype=np.float32)
        return image

    rng = patient.spec.rng(20 + 2 * int(follow_up) + int(t2) + (0 if days is None else 4))
    used = scanner or patient.scanner
    if used is not None:
        if scanner is not None:
            rng = patient.spec.rng(40 + sorted(SCANNERS).index(scanner.name))
        field = patient.anatomy.bias
        magnitude = acquire(used, render, grid=grid, bias=lambda on: field.on(on.blank(), to_head), rng=rng)
        return grid.image(np.rint(np.clip(float(rng.uniform(600, 1400)) * magnitude, 0, 65535)).astype(np.uint16))
    image = render(grid)
    if patient.head is not None:  # its bias field and its noise are its own
        return grid.image(np.rint(np.clip(1000 * image, 0, 65535)).astype(np.uint16))
    image *= 1 + 0.10 * patient.anatomy.bias.on(grid.blank(), to_head)
    # Noise increases as voxels get smaller, as on a scanner.
    sigma = NOISE / np.sqrt(min(float(np.prod(grid.spacing_mm)), 1.0)) ** 0.5
    first, second = (rng.standard_normal(image.shape, dtype=np.float32) for _ in range(2))
    gain = float(rng.uniform(600, 1400))
    values = np.empty(image.shape, dtype=np.uint16)

    def fill(k: int) -> None:
        real, imaginary = image[k] + sigma * first[k], sigma * second[k]
        values[k] = np.rint(gain * np.sqrt(real**2 + imaginary**2))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(fill, range(len(image))))
    return grid.image(values)


def render_dose(patient: Patient, targets: tuple[int, ...], *, step_mm: float = 1.0) -> sitk.Image:
    """Dose of the given targets in Gy, on a box around them that differs from the MR grid."""
    corners = np.concatenate(
        [
            patient.lesions[n].center_mm + np.asarray([[-1], [1]]) * (patient.lesions[n].radius_mm + BOX_MARGIN_MM)
            for n in targets
        ]
    )
    scanner = patient.to_head.GetInverse()
    corners = np.asarray([scanner.TransformPoint(c.tolist()) for c in corners])
    low = np.round(corners.min(axis=0)) + 0.37
    size = np.ceil((corners.max(axis=0) - low) / step_mm).astype(int)
    x, y, z = low.tolist()
    grid = Grid((int(size[0]), int(size[1]), int(size[2])), (step_mm,) * 3, (x, y, z))
    points = np.stack(head_coordinates(grid.blank(), patient.to_head), axis=-1)
    # A box for one target contains the shots of this target only: the sum over all boxes is the plan.
    return grid.image(
        np.sum([patient.targets[n].at(points.astype(np.float64)) for n in targets], axis=0).astype(np.float32)
    )


def label_maps(patient: Patient, grid: Grid, *, follow_up: bool = False) -> tuple[sitk.Image, sitk.Image]:
    """True lesions and true resistant subregions, by voxel center: uint8, label = lesion number (1, 2, …)."""
    to_head = patient.follow_up_to_head if follow_up else patient.to_head
    lesion_map, resistant_map = np.zeros(grid.shape, dtype=np.uint8), np.zeros(grid.shape, dtype=np.uint8)
    for lesion_number, lesion in enumerate(patient.lesions, start=1):
        current = lesion.later() if follow_up else lesion
        box, points = _head_points(grid, to_head, current, 1.9 * current.radius_mm * current.scale + 2)
        inside = current.level(points) > 0
        lesion_map[box][inside] = lesion_number
        resistant_map[box][inside & (current.resistance(points) > 0)] = lesion_number
    return grid.image(lesion_map), grid.image(resistant_map)


def contour_structures(patient: Patient, grid: Grid, *, skull_every: int = 4) -> tuple[Structure, ...]:
    """Targets contoured on the slices of ``grid``, and the skull between slices, as GammaPlan exports them."""
    structures = []
    fine = finer_in_plane(grid)
    for lesion_number, lesion in enumerate(patient.lesions, start=1):
        box, points = _head_points(fine, patient.to_head, lesion, 1.9 * lesion.radius_mm + 2)
        contours = contours_of(lesion.level(points), fine, box=box)
        structures.append(
            Structure(lesion_number, lesion.name, "GTV", contours, (255, 60 + 40 * (lesion_number % 4), 40))
        )
    skull = _skull_contours(patient, grid, skull_every)
    structures.append(Structure(len(patient.lesions) + 1, SKULL, "EXTERNAL", skull, (200, 200, 200)))
    return tuple(structures)


def contours_of(level: Array32, grid: Grid, *, box: tuple[slice, slice, slice] = WHOLE) -> tuple[Array64, ...]:
    """Contours (LPS, mm) of a level function ``[z, y, x]``, sampled on a box of the grid, on every slice."""
    contours = []
    for k, plane in enumerate(level, start=box[0].start):
        for line in level_lines(plane):
            if len(line) > 2:
                index = np.column_stack([line + np.asarray([box[2].start, box[1].start]), np.full(len(line), k)])
                contours.append(np.round(grid.to_lps(index), 3))
    return tuple(contours)


def finer_in_plane(grid: Grid) -> Grid:
    """The same slices with pixels of a third of the size: whole pixels would reduce a small target by 3 %."""
    row, column, step = grid.spacing_mm
    x, y, z = grid.to_lps(np.asarray([[-1 / 3, -1 / 3, 0]]))[0].tolist()
    size = (3 * grid.size[0], 3 * grid.size[1], grid.size[2])
    return Grid(size, (row / 3, column / 3, step), (x, y, z), grid.direction)


def _skull_contours(patient: Patient, grid: Grid, every: int) -> tuple[Array64, ...]:
    step = 4
    coarse = Grid(
        (grid.size[0] // step, grid.size[1] // step, grid.size[2] // every),
        (grid.spacing_mm[0] * step, grid.spacing_mm[1] * step, grid.spacing_mm[2] * every),
        tuple(grid.to_lps(np.asarray([[0, 0, 0.5]]))[0].tolist()),
        grid.direction,
    )
    x, y, z = head_coordinates(coarse.blank(), patient.to_head)
    if patient.head is not None:
        level = patient.head.depth_at(np.stack([x, y, z], axis=-1).astype(np.float64))
    else:
        level = depth_mm(patient.anatomy, x, y=y, z=z) + 15.0
    return contours_of(level, coarse)


def _head_points(
    grid: Grid, to_head: sitk.Transform, lesion: Lesion, reach_mm: float
) -> tuple[tuple[slice, slice, slice], Array64]:
    """Array box around a lesion, and its points relative to the lesion's center in the head frame, mm."""
    center = grid.to_index(np.asarray([to_head.GetInverse().TransformPoint(lesion.center_mm.tolist())]))[0]
    reach = reach_mm / np.asarray(grid.spacing_mm)
    low = np.maximum(np.floor(center - reach).astype(int), 0)
    high = np.minimum(np.ceil(center + reach).astype(int) + 1, grid.size)
    start = (int(low[0]), int(low[1]), int(low[2]))
    box_grid = grid.crop(start, tuple(np.maximum(high - low, 1).tolist()))
    points = np.stack(head_coordinates(box_grid.blank(), to_head), axis=-1) - lesion.center_mm
    return (slice(low[2], high[2]), slice(low[1], high[1]), slice(low[0], high[0])), points.astype(np.float64)


def _head(spec: PhantomSpec, anatomy: Anatomy) -> RealHead | None:
    if not spec.head:
        if spec.brain_only:
            raise RTResponseError("--brain-only", "says something about a real head, and none is given", "Add --head")
        return None
    if spec.scanner != IDEAL:
        problem = "does not go with a real head, whose scanner made its noise"
        raise RTResponseError("--scanner", problem, "Leave out --scanner, or --head")
    default = PhantomSpec()
    if spec.tilt_deg != default.tilt_deg or spec.spacing_mm != default.spacing_mm:
        problem = "do not go with a real head, whose voxels are those of the file"
        raise RTResponseError("--spacing and --tilt", problem, "Leave them out, or --head")
    if spec.second_series:
        raise RTResponseError("--second-series", "there is no T2 of a real head", "Leave it out")
    return read_head(Path(spec.head), anatomy=anatomy, brain_only=spec.brain_only)


def _sample_lesions(
    spec: PhantomSpec, anatomy: Anatomy, family: Family | None, scanner: Scanner | None, head: RealHead | None
) -> tuple[Lesion, ...]:
    rng = spec.rng(3)
    counts, shares = zip(*LESION_COUNTS, strict=True)
    count = spec.lesions if spec.lesions is not None else int(rng.choice(counts, p=shares))
    low, mode, high = (float(np.log(v)) for v in VOLUME_CC)
    if family is None:
        volumes = np.sort(np.exp(rng.triangular(low, mode, high, size=count)))[::-1]
    else:
        volumes = sample_volumes_cc(rng, count)
    group = 1 if scanner is None or sorted(SCANNERS).index(scanner.name) % 2 == 0 else -1
    placed: list[tuple[Array64, float]] = []
    lesions: list[Lesion] = []
    for lesion_number, volume in enumerate(volumes, start=1):
        radius = (volume * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
        if head is not None:
            center = head.find_place(radius, placed=placed, rng=rng)
        else:
            center = find_place(anatomy, radius, placed=placed, rng=rng)
        placed.append((center, radius))
        if family is None:
            lesions.append(sample_lesion(spec, lesion_number, center_mm=center, volume_cc=float(volume), rng=rng))
        else:
            lesions.append(
                sample_realistic(
                    family,
                    spec,
                    number=lesion_number,
                    center_mm=center,
                    volume_cc=float(volume),
                    rng=rng,
                    scanner=group,
                )
            )
    return tuple(lesions)


def find_place(
    anatomy: Anatomy, radius: float, *, placed: list[tuple[Array64, float]], rng: np.random.Generator
) -> Array64:
    """Return a place for a lesion in brain tissue, away from other lesions, in the head frame, mm.

    Parameters
    ----------
    radius : radius of the sphere of the lesion's volume, mm.
    placed : centers and radii of the other lesions, mm.

    Raises
    ------
    RTResponseError : the brain has no room for the lesion.
    """
    gap = 6.0
    for attempt in range(4000):
        point = rng.uniform(-1, 1, 3) * (anatomy.brain_mm - radius)
        x, y, z = (np.asarray([c], dtype=np.float32) for c in point)
        clear = all(np.linalg.norm(point - c) > 1.25 * (radius + r) + gap for c, r in placed)
        deep = depth_mm(anatomy, x, y=y, z=z)[0] > 1.1 * radius + 2
        away = in_ventricles(x, y, z=z)[0] < -0.5 or attempt > 2000
        if clear and deep and away and point[2] > -45:
            return point
    raise RTResponseError("--lesions", "the brain has no room for another lesion of this size", "Use fewer lesions")
