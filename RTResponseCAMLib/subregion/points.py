"""Cell-level data as points in the patient: biopsies, spots, blocks of a slide; and what the map says there."""

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
NEAR_MM = 2.0  # a point this far beyond a lesion's voxels still belongs to it
BALL = 4  # samples along the radius of the sphere that is averaged
LEAST_SHARE = 0.5  # of a slide's block that must hold values


@dataclass(frozen=True)
class Point:
    """One measurement: LPS mm, value, type; ``study`` tells patients apart ("" where there is one only)."""

    study: str
    place_mm: tuple[float, float, float]
    value: float
    kind: str


@dataclass(frozen=True)
class Sampled:
    """What the map says at the points that lie in a lesion.

    Attributes
    ----------
    points, lesions : the points, and the id of the lesion that each lies in.
    draws : mean evidence in the sphere around each point ``(points, draws)``: first where it is stated to be, then
        with its place drawn anew within the localization error.
    turned : the same with the map turned about the lesion's center, ``(points, turns)``: the spatial null.
    """

    points: tuple[Point, ...]
    lesions: tuple[str, ...]
    draws: Array64
    turned: Array64


def read_points(path: Path, frame: str | None = None) -> tuple[Point, ...]:
    """Read a table with the columns x, y, z (mm), value, and optionally type, study and frame (LPS or RAS).

    Raises
    ------
    CohortError : missing columns, no frame or one of another name, values that are no finite numbers.
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
        lacking = [c for c in COLUMNS if c not in names]
        if lacking:
            found = ", ".join(names) or "none"
            raise CohortError(path, f"lacks the column(s) {', '.join(lacking)}; found {found}", "Name them in line 1")
        points = []
        for line, row in enumerate(reader, start=2):
            if line > MOST_ROWS:
                raise CohortError(path, f"holds more than {MOST_ROWS} points", "Give one study at a time")
            x, y, z, value = (_number(path, line, c, row[names[c]]) for c in COLUMNS)
            given = (row[names["frame"]] or "").strip().upper() if "frame" in names else ""
            used = given or (frame or "").upper()
            if used not in FRAMES:
                what = f"states no frame of its coordinates in line {line}" if not used else f"has the frame '{used}'"
                raise CohortError(path, what, "Give --frame LPS or --frame RAS, or a column 'frame'")
            place = (x, y, z) if used == "LPS" else (-x, -y, z)
            kind, study = ((row[names[c]] or "").strip() if c in names else "" for c in ("type", "study"))
            points.append(Point(study, place, value, kind))
    if not points:
        raise CohortError(path, "holds no point", "Add a line for each measurement")
    return tuple(points)


def slide_points(raster: sitk.Image, to_patient: sitk.Transform | None, *, block_mm: float) -> tuple[Point, ...]:
    """A registered slide as points: means of its blocks of ``block_mm``, placed by its geometry and a transform.

    ``to_patient`` maps the raster's own millimeters to LPS of the planning MR. Blocks less than half of which hold
    values above 0 are left out: there is no tissue.
    """
    if raster.GetDimension() == 2:
        raster = sitk.JoinSeries(raster, 0.0, block_mm)
    values = sitk.GetArrayFromImage(sitk.Cast(raster, sitk.sitkFloat64))
    grid = Grid.of(raster)
    steps = [max(round(block_mm / s), 1) for s in grid.spacing_mm]
    found = []
    for k in range(0, values.shape[0], steps[2]):
        for j in range(0, values.shape[1], steps[1]):
            for i in range(0, values.shape[2], steps[0]):
                block = values[k : k + steps[2], j : j + steps[1], i : i + steps[0]]
                held = np.isfinite(block) & (block > 0)
                if held.mean() < LEAST_SHARE:
                    continue
                middle = np.asarray([[i + block.shape[2] / 2, j + block.shape[1] / 2, k + block.shape[0] / 2]]) - 0.5
                place = tuple(grid.to_lps(middle)[0].tolist())
                x, y, z = to_patient.TransformPoint(place) if to_patient is not None else place
                found.append(Point("", (x, y, z), float(block[held].mean()), "slide"))
    return tuple(found)


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
    """Mean evidence in a sphere around each point, over the lesion's voxels; points outside every lesion are left out.

    Parameters
    ----------
    error_mm : standard deviation of a point's place along each axis.
    """
    rng = np.random.default_rng(seed)
    owner = _lesion_of(lesions, points)
    kept: list[Point] = []
    names: list[str] = []
    drawn, turned = [], []
    ball = _ball(radius_mm)
    for number, (name, voxels) in enumerate(lesions):
        own = [p for p, lesion in zip(points, owner, strict=True) if lesion == number]
        if not own:
            continue
        places = np.asarray([p.place_mm for p in own])
        jitter = rng.normal(0, error_mm, (draws, len(own), 3)) if error_mm > 0 else np.zeros((draws, len(own), 3))
        jitter[0] = 0
        center = voxels.grid.points_of(voxels.inside).mean(axis=0)
        ways = Rotation.random(turns, rng=rng) if turns else []
        moved = [(way.apply(places - center) + center) for way in ways]
        field = voxels.extended(voxels.evidence).astype(np.float64)
        drawn.append(np.stack([_means(voxels, field, places + j, ball) for j in jitter], axis=1))
        turned.append(
            np.stack([_means(voxels, field, m, ball) for m in moved], axis=1) if moved else np.zeros((len(own), 0))
        )
        kept += own
        names += [name] * len(own)
    outside = owner.count(-1)
    warnings = []
    if outside:
        warnings.append(WarningCode.POINTS_OUTSIDE(outside=outside, count=len(points)))
    empty = np.zeros((0, draws)), np.zeros((0, turns))
    return Sampled(
        tuple(kept),
        tuple(names),
        np.concatenate(drawn) if drawn else empty[0],
        np.concatenate(turned) if turned else empty[1],
    ), tuple(warnings)


def _lesion_of(lesions: Sequence[tuple[str, LesionVoxels]], points: Sequence[Point]) -> list[int]:
    """Number of the nearest lesion for each point, -1 beyond `NEAR_MM` of all."""
    if not points or not lesions:
        return [-1] * len(points)
    places = np.asarray([p.place_mm for p in points])
    away = np.full((len(lesions), len(points)), np.inf)
    for number, (_, voxels) in enumerate(lesions):
        away[number] = cKDTree(voxels.grid.points_of(voxels.inside)).query(places)[0]
    best = away.argmin(axis=0)
    return [int(n) if away[n, i] <= NEAR_MM else -1 for i, n in enumerate(best)]


def _ball(radius_mm: float) -> Array64:
    axis = np.linspace(-radius_mm, radius_mm, 2 * BALL + 1)
    offsets = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.asarray(offsets[np.linalg.norm(offsets, axis=1) <= radius_mm + 1e-9])


def _means(voxels: LesionVoxels, field: Array64, places_mm: Array64, ball: Array64) -> Array64:
    """Mean of a field over a ball around each place; beyond the box the nearest value counts."""
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
