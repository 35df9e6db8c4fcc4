"""Biopsy / cell-density points in patient coordinates (biopsies, spots, blocks of a slide), and the evidence there."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.planes import Array64
from RTResponseCAMLib.subregion.voxels import LesionVoxels
from RTResponseCAMLib.warnings import Warning, WarningCode

COLUMNS = ("x", "y", "z", "value")
FRAMES = ("LPS", "RAS")
MOST_ROWS = 100_000
NEAR_MM = 2.0  # a point up to this distance from a lesion's voxels belongs to it
BALL = 4  # samples along the radius of the averaging sphere
LEAST_SHARE = 0.5  # least fraction of a slide's block that must contain values


@dataclass(frozen=True)
class Point:
    """Measurement at a point.

    Attributes
    ----------
    study : study of the patient; "" if there is only one.
    place_mm : position, LPS mm.
    value : measured value.
    kind : type of the measurement.
    """

    study: str
    place_mm: tuple[float, float, float]
    value: float
    kind: str


@dataclass(frozen=True)
class Sampled:
    """Evidence at the points that lie in a lesion.

    Attributes
    ----------
    points, lesions : the points, and the id of the lesion of each point.
    draws : mean evidence in the sphere around each point ``(points, draws)``: first at the stated position, then at
        positions sampled within the localization error.
    turned : the same with the map rotated around the lesion's center, ``(points, turns)``: the spatial null.
    """

    points: tuple[Point, ...]
    lesions: tuple[str, ...]
    draws: Array64
    turned: Array64


def read_points(path: Path, frame: str | None = None) -> tuple[Point, ...]:
    """Return the points of a CSV table with the columns x, y, z (mm), value, and optionally type, study and frame.

    Parameters
    ----------
    frame : frame of the coordinates, LPS or RAS, for rows without one in the column "frame".

    Raises
    ------
    CohortError : the file cannot be read, columns are missing, the frame is missing or unknown, a value is not a finite
        number, or the number of points is 0 or too large.
    """
    try:
        return _read(path, frame)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CohortError(path, f"cannot be read as a table ({error})", "Save it as CSV in UTF-8") from error


def _read(path: Path, frame: str | None) -> tuple[Point, ...]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        sample = file.read(4096)
        file.seek(0)
        reader = csv.DictReader(file, delimiter=";" if sample.count(";") > sample.count(",") else ",")
        names = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
        missing = [c for c in COLUMNS if c not in names]
        if missing:
            present = ", ".join(names) or "none"
            raise CohortError(path, f"lacks the column(s) {', '.join(missing)}; found {present}", "Add them to line 1")
        points = []
        for line, row in enumerate(reader, start=2):
            if line > MOST_ROWS:
                raise CohortError(path, f"has more than {MOST_ROWS} points", "Give one study at a time")
            x, y, z, value = (_number(path, line, c, row[names[c]]) for c in COLUMNS)
            row_frame = (row[names["frame"]] or "").strip().upper() if "frame" in names else ""
            used = row_frame or (frame or "").upper()
            if used not in FRAMES:
                cause = f"has no frame for the coordinates in line {line}" if not used else f"has the frame '{used}'"
                raise CohortError(path, cause, "Give --frame LPS or --frame RAS, or a column 'frame'")
            position = (x, y, z) if used == "LPS" else (-x, -y, z)
            kind, study = ((row[names[c]] or "").strip() if c in names else "" for c in ("type", "study"))
            points.append(Point(study, position, value, kind))
    if not points:
        raise CohortError(path, "contains no points", "Add a line for each measurement")
    return tuple(points)


def slide_points(raster: sitk.Image, to_patient: sitk.Transform | None, *, block_mm: float) -> tuple[Point, ...]:
    """Return the points of a registered slide: means of its blocks, at positions from its geometry and a transform.

    Blocks in which less than half of the pixels have values above 0 contain too little tissue, and are left out.

    Parameters
    ----------
    raster : slide image, 2-D or 3-D.
    to_patient : transform from the raster's own coordinates (mm) to LPS of the planning MR; None: they are equal.
    block_mm : edge length of a block, mm.
    """
    if raster.GetDimension() == 2:
        raster = sitk.JoinSeries(raster, 0.0, block_mm)
    values = sitk.GetArrayFromImage(sitk.Cast(raster, sitk.sitkFloat64))
    grid = Grid.of(raster)
    steps = [max(round(block_mm / s), 1) for s in grid.spacing_mm]
    points = []
    for k in range(0, values.shape[0], steps[2]):
        for j in range(0, values.shape[1], steps[1]):
            for i in range(0, values.shape[2], steps[0]):
                block = values[k : k + steps[2], j : j + steps[1], i : i + steps[0]]
                valid = np.isfinite(block) & (block > 0)
                if valid.mean() < LEAST_SHARE:
                    continue
                center = np.asarray([[i + block.shape[2] / 2, j + block.shape[1] / 2, k + block.shape[0] / 2]]) - 0.5
                position = tuple(grid.to_lps(center)[0].tolist())
                x, y, z = to_patient.TransformPoint(position) if to_patient is not None else position
                points.append(Point("", (x, y, z), float(block[valid].mean()), "slide"))
    return tuple(points)


def sample_map(
    lesions: Sequence[tuple[str, LesionVoxels]],
    points: Sequence[Point],
    *,
    radius_mm: float,
    error_mm: float = 0.0,
    draws: int = 50,
    turns: int = 199,
    seed: int = 0,
) -> tuple[Sampled, tuple[Warning, ...]]:
    """Return the mean evidence in a sphere around each point, from the voxels of its lesion, and warnings.

    Points outside all lesions are left out, with a warning.

    Parameters
    ----------
    lesions : id and voxels of each lesion.
    radius_mm : radius of the averaging sphere, mm.
    error_mm : standard deviation of the localization error along each axis, mm.
    draws : number of sampled positions per point, the stated position included.
    turns : number of random rotations of the map around the lesion's center.
    seed : seed of the random samples.
    """
    rng = np.random.default_rng(seed)
    owner = _lesion_of(lesions, points)
    kept_points: list[Point] = []
    names: list[str] = []
    sampled, turned = [], []
    ball = _ball(radius_mm)
    for lesion_index, (name, voxels) in enumerate(lesions):
        members = [p for p, lesion in zip(points, owner, strict=True) if lesion == lesion_index]
        if not members:
            continue
        positions = np.asarray([p.place_mm for p in members])
        jitter = (
            rng.normal(0, error_mm, (draws, len(members), 3)) if error_mm > 0 else np.zeros((draws, len(members), 3))
        )
        jitter[0] = 0
        center = voxels.grid.points_of(voxels.inside).mean(axis=0)
        rotations = Rotation.random(turns, rng=rng) if turns else []
        rotated = [(rotation.apply(positions - center) + center) for rotation in rotations]
        field = voxels.extended(voxels.evidence).astype(np.float64)
        sampled.append(np.stack([_means(voxels, field, positions + j, ball) for j in jitter], axis=1))
        turned.append(
            np.stack([_means(voxels, field, m, ball) for m in rotated], axis=1)
            if rotated
            else np.zeros((len(members), 0))
        )
        kept_points += members
        names += [name] * len(members)
    outside = owner.count(-1)
    warnings = []
    if outside:
        warnings.append(WarningCode.POINTS_OUTSIDE(outside=outside, count=len(points)))
    empty = np.zeros((0, draws)), np.zeros((0, turns))
    return Sampled(
        tuple(kept_points),
        tuple(names),
        np.concatenate(sampled) if sampled else empty[0],
        np.concatenate(turned) if turned else empty[1],
    ), tuple(warnings)


def _lesion_of(lesions: Sequence[tuple[str, LesionVoxels]], points: Sequence[Point]) -> list[int]:
    """Return the index of the nearest lesion of each point; -1 if all lesions are farther than `NEAR_MM`."""
    if not points or not lesions:
        return [-1] * len(points)
    positions = np.asarray([p.place_mm for p in points])
    distances = np.full((len(lesions), len(points)), np.inf)
    for lesion_index, (_, voxels) in enumerate(lesions):
        distances[lesion_index] = cKDTree(voxels.grid.points_of(voxels.inside)).query(positions)[0]
    nearest = distances.argmin(axis=0)
    return [int(n) if distances[n, i] <= NEAR_MM else -1 for i, n in enumerate(nearest)]


def _ball(radius_mm: float) -> Array64:
    axis = np.linspace(-radius_mm, radius_mm, 2 * BALL + 1)
    offsets = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.asarray(offsets[np.linalg.norm(offsets, axis=1) <= radius_mm + 1e-9])


def _means(voxels: LesionVoxels, field: Array64, places_mm: Array64, ball: Array64) -> Array64:
    """Return the mean of a field over a ball around each position; outside the box, the nearest value is used."""
    index = voxels.grid.to_index((places_mm[:, None] + ball).reshape(-1, 3))
    values = map_coordinates(field, index.T[::-1], order=1, mode="nearest")
    return np.asarray(values.reshape(len(places_mm), len(ball)).mean(axis=1), dtype=np.float64)


def _number(path: Path, line: int, column: str, text: str | None) -> float:
    try:
        value = float((text or "").strip().replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CohortError(path, f"has '{text}' for {column} in line {line}, expected a number", "Correct the line")
    return value
