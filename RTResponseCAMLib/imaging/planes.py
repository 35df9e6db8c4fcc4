"""Contours sorted into the parallel planes in which they were drawn, whatever their tilt.

GammaPlan draws contours on one image set and exports them against another, so the planes may be tilted,
closer or wider than the slices. Nothing here assumes that a contour has one z.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.coverage import even_odd_area
from RTResponseCAMLib.imaging.parts import (
    SAME_OUTLINE_MM,
    connected,
    crosses,
    net_area,
    outer_area,
    without_repeats,
)
from RTResponseCAMLib.study import Structure
from RTResponseCAMLib.warnings import Warning, WarningCode

MIN_AREA_MM2 = 1e-4
SAME_PLANE_MM = (0.01, 0.1)
SAME_PLANE_STEP = 0.2
RIM_MM = 1.0
GAP_FACTOR = 1.6
ALTERNATE_MM = 0.05
CLOSE_SHARE, WIDE_MM = 0.3, 10.0
MAX_CORRECTION = 0.0048
MAX_PER_PLANE = 500
MAX_REACH_MM = 1000.0  # no ROI of one body is longer
APART_MM = 5.0  # parts farther from all others are named: they may be targets of their own
HOLLOW = 0.5  # share of what the outer outlines enclose, below which holes are named
CROSSED = 0.95  # the same where outlines cross one another: none of them is a hole
LOOPED = 0.02  # share by which even-odd and signed areas of outlines differ, from which crossings are named
FEW_PLANES = 0.1  # share of what the outer outlines enclose, up to which such planes are not named
MAX_TILT_BETWEEN_PLANES_DEG = 3.0
Array64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PlaneStack:
    """Parallel contour planes of one structure.

    Attributes
    ----------
    axes : rows u, v, n: an orthonormal LPS frame, n normal to the planes.
    offsets_mm : position of each plane along n, ascending, ``(p,)``.
    slabs_mm : interval along n for which each plane stands, ``(p, 2)``.
    polygons : per plane, its closed contours in (u, v), mm.
    volume_mm3 : volume of the body, see `stack_planes`.
    along_voxels : the contours run along the edges of voxels.
    warnings : what was unusual.
    parts : the connected parts, the largest first; empty where there is one, which is this.
    """

    axes: Array64
    offsets_mm: Array64
    slabs_mm: Array64
    polygons: tuple[tuple[Array64, ...], ...]
    volume_mm3: float
    along_voxels: bool
    warnings: tuple[Warning, ...]
    parts: tuple[PlaneStack, ...] = ()

    @property
    def each(self) -> tuple[PlaneStack, ...]:
        """The connected parts, one at least."""
        return self.parts or (self,)


@lru_cache(maxsize=64)  # of the structures asked for last: a lesion is sampled a dozen times
def stack_planes(structure: Structure) -> PlaneStack:
    """Sort the contours of a structure into parallel planes.

    Repetitions of a contour (also with other points, see `parts.without_repeats`) and contours of fewer than three
    points or no area are left out. In each connected part a plane stands for the half distance to its neighbors; at
    the ends, and at gaps over 1.6 × the median distance (a lost slice: a warning), for half the median distance.

    The volume is even-odd area × slab, corrected for how the areas run between the planes and out at both ends
    (Simpson-like, exact for ellipsoids), by `MAX_CORRECTION` at most: so it differs from the plain sum that other
    RT software states by less than half a percent. Contours along voxel edges are voxels; nothing is corrected.

    Raises
    ------
    GeometryError : no usable contour, contours that are not parallel planes, over 500 of them in one plane, or over a
        metre apart.
    """
    given = [np.asarray(c, dtype=np.float64) for c in structure.contours]
    normals = [_normal(c) for c in given]
    kept = _unique([n for n, normal in enumerate(normals) if np.linalg.norm(normal) > MIN_AREA_MM2], given)
    flat = sum(np.linalg.norm(normal) <= MIN_AREA_MM2 for normal in normals)
    where = f"ROI {structure.number} '{structure.name}'"
    if not kept:
        raise GeometryError(where, "has no closed contour with an area", "Contour the target and export it again")
    contours = [given[n] for n in kept]
    reach = float(np.ptp(np.concatenate(contours), axis=0).max())
    if reach > MAX_REACH_MM:
        what = f"spreads over {reach:.0f} mm: a contour lies far from the others"
        raise GeometryError(where, what, "Correct the ROI and export it again")
    axes = _common_frame(np.asarray([normals[n] for n in kept]), where)
    local = [contour @ axes.T for contour in contours]
    heights = np.asarray([contour[:, 2].mean() for contour in local])
    tolerance = _same_plane_mm(heights)
    offsets: list[float] = []
    polygons: list[list[Array64]] = []
    for index in np.argsort(heights):
        polygon = local[index][:, :2]
        above = heights[index] - offsets[-1] if offsets else np.inf
        if above > SAME_PLANE_MM[0] and not (above <= tolerance and all(_separate(polygon, p) for p in polygons[-1])):
            offsets.append(float(heights[index]))
            polygons.append([])
        polygons[-1].append(polygon)
    crowded = max(len(p) for p in polygons)
    if crowded > MAX_PER_PLANE:
        what = f"has {crowded} contours in one plane, more than {MAX_PER_PLANE}"
        raise GeometryError(where, what, "Export a simpler ROI")
    planes, repeats = [], 0
    for plane in polygons:
        single, more = without_repeats(plane)
        planes.append(single)
        repeats += more
    warnings: tuple[Warning, ...] = ()
    if repeats:
        warnings = (WarningCode.REPEATED_OUTLINE(where=where, count=repeats, tolerance=SAME_OUTLINE_MM),)
    if flat:
        warnings += (WarningCode.FLAT_OUTLINE(where=where, count=flat),)
    return _in_parts(axes, np.asarray(offsets), planes, where, warnings)


def _in_parts(
    axes: Array64, offsets: Array64, planes: list[list[Array64]], where: str, warnings: tuple[Warning, ...]
) -> PlaneStack:
    """One stack of planes, and its connected parts where there are several."""
    gaps = np.diff(offsets)
    groups = connected(planes, offsets, step_mm=_usual_mm(gaps) if len(gaps) else 0.0)
    if len(groups) == 1:
        whole = _stack(axes, offsets, planes, where)
        return replace(whole, warnings=warnings + whole.warnings)
    steps = [np.diff(offsets[sorted({plane for plane, _ in group})]) for group in groups]
    own_steps = [_usual_mm(step) for step in steps if len(step) > 1]
    # A part of one or two planes says little about its step: it was contoured on the slices of the others.
    usual = float(np.median(own_steps)) if own_steps else _usual_mm(gaps) if len(gaps) else None
    parts = []
    for group in groups:
        used = sorted({plane for plane, _ in group})
        own = [[planes[plane][n] for p, n in group if p == plane] for plane in used]
        parts.append(_stack(axes, offsets[used], own, where, usual))
    slabs, _ = _slabs(offsets, where)
    lost = _lost_between(parts)
    if lost:
        warnings += (WarningCode.CONTOUR_GAP(where=where, count=lost, step=usual or 0.0),)
    apart = _apart_mm(parts)
    if apart > APART_MM:
        warnings += (WarningCode.SEPARATE_PARTS(where=where, count=len(parts), apart=apart),)
    warnings += tuple(dict.fromkeys(w for part in parts for w in part.warnings))
    volume = sum(part.volume_mm3 for part in parts)
    voxels = all(part.along_voxels for part in parts)
    return PlaneStack(axes, offsets, slabs, tuple(tuple(p) for p in planes), volume, voxels, warnings, tuple(parts))


def _stack(
    axes: Array64, offsets: Array64, planes: list[list[Array64]], where: str, usual_mm: float | None = None
) -> PlaneStack:
    """The planes of one part, with their slabs and volume; ``usual_mm`` is the step of the other parts."""
    slabs, warnings = _slabs(offsets, where, usual_mm)
    areas = np.asarray([even_odd_area(p) for p in planes])
    voxels = _along_voxels(planes)
    if not areas.sum() > 0:
        what = "has outlines that run round twice: by the even-odd rule nothing lies within them"
        raise GeometryError(where, what, "Draw each outline once and export the ROI again")
    volume = _volume(offsets, slabs, areas, as_contoured=voxels or bool(warnings))
    warnings += _loops(planes, areas, slabs[:, 1] - slabs[:, 0], where)
    if any(len(p) > 1 for p in planes):
        thickness = slabs[:, 1] - slabs[:, 0]
        outer = np.asarray([outer_area(p) for p in planes])
        crossing = np.asarray([crosses(p) for p in planes])
        lost = np.where(crossing, CROSSED, HOLLOW)  # even-odd takes what outlines share out twice
        flagged = areas < lost * outer
        if outer[flagged] @ thickness[flagged] > FEW_PLANES * (outer @ thickness):
            inner, whole = float(areas @ thickness), float(outer @ thickness)
            values = {"volume": inner / 1000, "outer": whole / 1000, "share": 100 * inner / whole}
            warnings += (WarningCode.HOLLOW_OUTLINE(where=where, **values),)
    return PlaneStack(axes, offsets, slabs, tuple(tuple(p) for p in planes), volume, voxels, warnings)


def _loops(planes: list[list[Array64]], areas: Array64, thickness: Array64, where: str) -> tuple[Warning, ...]:
    """Whether outlines cross themselves: their signed areas, loops against loops, are then not those within them."""
    each = [area if len(p) == 1 else sum(even_odd_area([q]) for q in p) for p, area in zip(planes, areas, strict=True)]
    within = float(np.asarray(each) @ thickness)
    signed = float(np.asarray([sum(net_area(p) for p in plane) for plane in planes]) @ thickness)
    if abs(signed - within) <= LOOPED * max([signed, within]):
        return ()
    return (WarningCode.CROSSED_OUTLINE(where=where, volume=within / 1000, signed=signed / 1000),)


def _apart_mm(parts: list[PlaneStack]) -> float:
    """Widest gap between a part's bounding box and the nearest other part's, mm."""
    boxes = np.stack([_box(part) for part in parts])
    nearest = []
    for n, (low, high) in enumerate(boxes):
        others = np.delete(boxes, n, axis=0)
        gaps = np.maximum(np.maximum(others[:, 0] - high, low - others[:, 1]), 0.0)
        nearest.append(float(np.linalg.norm(gaps, axis=1).min()))
    return max(nearest)


def _lost_between(parts: list[PlaneStack]) -> int:
    """How many parts lie over one another with less than `WIDE_MM` between them: planes are rather lost there."""
    boxes = np.stack([_box(part) for part in parts])
    found = 0
    for n, (low, high) in enumerate(boxes):
        lows, highs = boxes[n + 1 :, 0], boxes[n + 1 :, 1]
        common = np.minimum(high, highs) - np.maximum(low, lows)
        smaller = np.minimum(high - low, highs - lows)
        over = (common[:, :2] > 0.5 * smaller[:, :2]).all(axis=1)
        found += int((over & (common[:, 2] < 0) & (common[:, 2] > -WIDE_MM)).sum())
    return found


def _box(part: PlaneStack) -> Array64:
    """Lowest and highest corner (u, v, n) of a part, mm."""
    points = np.concatenate([p for plane in part.polygons for p in plane])
    return np.asarray([[*points.min(axis=0), part.slabs_mm[0, 0]], [*points.max(axis=0), part.slabs_mm[-1, 1]]])


def contour_volume_cc(structure: Structure) -> float:
    """Volume of the contours themselves, cm³, no voxels involved; see `stack_planes`."""
    return stack_planes(structure).volume_mm3 / 1000.0


def centroid_mm(structure: Structure) -> Array64:
    """Middle of the bounding box of all contour points, LPS mm (``(3,)``)."""
    points = np.concatenate([np.asarray(c, dtype=np.float64) for c in structure.contours])
    return np.asarray((points.min(axis=0) + points.max(axis=0)) / 2)


def _normal(points: Array64) -> Array64:
    """Vector area, mm²; of outlines whose loops cancel one another, the area within them along their plane's normal."""
    area = _vector_area(points)
    if len(points) < 4 or np.linalg.norm(area) > MIN_AREA_MM2:
        return area
    _, extent, axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    if extent[1] < MIN_AREA_MM2:  # all on one line
        return area
    return np.asarray(axes[2] * even_odd_area([(points - points.mean(axis=0)) @ axes[:2].T]))


def _vector_area(points: Array64) -> Array64:
    """Area-weighted normal of a closed polygon in space, mm² (Newell's method)."""
    if len(points) < 3:
        return np.zeros(3)
    x, y, z = (points - points.mean(axis=0)).T
    u, v, w = (np.concatenate([c[1:], c[:1]]) for c in (x, y, z))  # plain products: np.cross costs ten times as much
    return 0.5 * np.asarray([y @ w - z @ v, z @ u - x @ w, x @ v - y @ u])


def _unique(numbers: list[int], contours: list[Array64]) -> list[int]:
    """Leave out contours whose points were all there before, in whatever order; few have even the same box."""
    boxes: defaultdict[bytes, list[int]] = defaultdict(list)
    for n in numbers:
        box = np.round([contours[n].min(axis=0), contours[n].max(axis=0)], 3) + 0.0
        boxes[box.tobytes()].append(n)
    kept = []
    for alike in boxes.values():
        seen: set[bytes] = set()
        for n in alike:
            key = (np.unique(np.round(contours[n], 3), axis=0) + 0.0).tobytes() if len(alike) > 1 else b""
            if key not in seen:
                seen.add(key)
                kept.append(n)
    return sorted(kept)


def _common_frame(normals: Array64, where: str) -> Array64:
    largest = normals[np.argmax(np.linalg.norm(normals, axis=1))]
    signs = np.where(normals @ largest < 0, -1.0, 1.0)
    normal = (normals * signs[:, None]).sum(axis=0)
    normal /= np.linalg.norm(normal)
    areas = np.linalg.norm(normals, axis=1)
    # Small contours have noisy normals: only those that weigh at least a tenth of the largest are judged.
    judged = areas > 0.1 * areas.max()
    cosines = np.abs(normals[judged] @ normal) / areas[judged]
    tilt = float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))))
    if tilt > MAX_TILT_BETWEEN_PLANES_DEG:
        raise GeometryError(
            where,
            f"its contours lie in planes tilted by {tilt:.1f}° against each other, expected parallel planes",
            "Export the ROI with contours drawn on one image set only",
        )
    main = int(np.argmax(np.abs(normal)))
    if abs(normal[main]) > 1 - 1e-9:  # exact axes keep axial contours free of rounding
        normal = np.eye(3)[main]
    elif normal[main] < 0:
        normal = -normal
    helper = np.eye(3)[(main + 1) % 3]
    u = helper - (helper @ normal) * normal
    u /= np.linalg.norm(u)
    return np.stack([u, np.cross(normal, u), normal])


def _same_plane_mm(heights: Array64) -> float:
    """Contours of one tilted plane differ by the rounding of their points: by far less than planes do."""
    gaps = np.diff(np.sort(heights))
    gaps = gaps[gaps > SAME_PLANE_MM[0]]
    step = float(np.percentile(gaps, 90)) if len(gaps) else 0.0
    return float(np.clip(SAME_PLANE_STEP * step, *SAME_PLANE_MM))


def _separate(one: Array64, other: Array64) -> bool:
    """Two islands, or an outline with a hole, and not the same outline drawn in two planes that nearly touch."""
    if (one.min(axis=0) > other.max(axis=0)).any() or (other.min(axis=0) > one.max(axis=0)).any():
        return True
    apart, _ = cKDTree(one).query(other)
    return float(apart.min()) >= RIM_MM


def _slabs(offsets: Array64, where: str, usual_mm: float | None = None) -> tuple[Array64, tuple[Warning, ...]]:
    if len(offsets) == 1 and usual_mm is not None:
        return np.asarray([[offsets[0] - usual_mm / 2, offsets[0] + usual_mm / 2]]), ()
    if len(offsets) == 1:
        # One contour says nothing about its thickness; 1 mm is GammaPlan's usual slice distance.
        return np.asarray([[offsets[0] - 0.5, offsets[0] + 0.5]]), (WarningCode.SINGLE_PLANE(where=where),)
    gaps = np.diff(offsets)
    median = usual_mm if usual_mm is not None and len(gaps) == 1 and gaps[0] > usual_mm else _usual_mm(gaps)
    half = np.minimum(gaps, np.where(gaps > GAP_FACTOR * median, median, gaps)) / 2
    before = np.concatenate([[median / 2], half])
    after = np.concatenate([half, [median / 2]])
    warnings: tuple[Warning, ...] = ()
    lost = int((gaps > GAP_FACTOR * median).sum())
    if lost:
        warnings = (WarningCode.CONTOUR_GAP(where=where, count=lost, step=median),)
    return np.stack([offsets - before, offsets + after], axis=1), warnings


def _usual_mm(gaps: Array64) -> float:
    """Usual distance of planes, though some come in pairs that nearly touch, and parts may lie far apart."""
    odd, even = gaps[::2], gaps[1::2]
    if len(gaps) > 3 and max(np.ptp(odd), np.ptp(even)) < ALTERNATE_MM < abs(odd[0] - even[0]):
        return float(max(odd[0], even[0]))  # two sets of planes between one another: nothing is lost
    near = gaps[gaps <= WIDE_MM] if (gaps <= WIDE_MM).any() else gaps
    return float(np.median(near[near > CLOSE_SHARE * np.percentile(near, 75)]))


def _along_voxels(polygons: list[list[Array64]]) -> bool:
    """All edges run along two perpendicular directions."""
    edges = np.concatenate([np.roll(p, -1, axis=0) - p for plane in polygons for p in plane])
    edges = edges[np.linalg.norm(edges, axis=1) > 1e-3]
    # Four times the angle is the same for directions that differ by right angles.
    turn = np.exp(4j * np.arctan2(edges[:, 1], edges[:, 0]))
    return bool(np.abs(turn - turn[0]).max() < 0.02)


def _volume(offsets: Array64, slabs: Array64, areas: Array64, as_contoured: bool) -> float:
    """Area × slab, mm³, drawn towards the volume under a smooth curve of areas unless ``as_contoured``."""
    plain = float(areas @ (slabs[:, 1] - slabs[:, 0]))
    if as_contoured or len(offsets) < 3:
        return plain
    smooth = float(CubicSpline(offsets, areas).integrate(offsets[0], offsets[-1]))
    for z, area in ((offsets[2::-1], areas[2::-1]), (offsets[-3:], areas[-3:])):
        smooth += _end_volume(np.abs(z - z[-1])[::-1], area[::-1])
    return plain * (1 + float(np.clip(smooth / plain - 1, -MAX_CORRECTION, MAX_CORRECTION)))


def _end_volume(before: Array64, areas: Array64) -> float:
    """Volume beyond the last plane: under the areas' parabola if it reaches zero within one step, else half a step."""
    step = float(before[1])
    a, b, c = np.linalg.solve(np.vander(-before, 3), areas)
    roots = [float(r.real) for r in np.roots([a, b, c]) if abs(r.imag) < 1e-9 and 0 <= r.real <= step]
    if not roots:
        return float(areas[0]) * step / 2
    end = min(roots)
    return float(a * end**3 / 3 + b * end**2 / 2 + c * end)
