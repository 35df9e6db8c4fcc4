"""Sorting of contours into the parallel planes in which they were contoured, at any tilt, and their volume.

GammaPlan uses one image set for contouring and exports the contours with reference to another. The planes may
therefore be tilted against the slices, and closer together or wider apart. No code here assumes that a contour has a
single z.
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
from RTResponseCAMLib.imaging.slabs import WIDE_MM, slabs_of, usual_mm_of
from RTResponseCAMLib.study import Structure
from RTResponseCAMLib.warnings import Warning, WarningCode

MIN_AREA_MM2 = 1e-4
SAME_PLANE_MM = (0.01, 0.1)
SAME_PLANE_STEP = 0.2
RIM_MM = 1.0
MAX_CORRECTION = 0.0048
MAX_PER_PLANE = 500
MAX_REACH_MM = 1000.0  # no ROI of a patient is longer
APART_MM = 5.0  # parts farther from all others give a warning: they may be separate targets
HOLLOW = 0.5  # fraction of the area enclosed by the outer outlines, below which holes give a warning
CROSSED = 0.95  # the same where outlines cross each other: none of them is a hole
LOOPED = 0.02  # relative difference of even-odd and signed area, above which crossings give a warning
FEW_PLANES = 0.1  # fraction of the volume enclosed by the outer outlines, up to which such planes give no warning
MAX_TILT_BETWEEN_PLANES_DEG = 3.0
Array64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PlaneStack:
    """Parallel contour planes of one structure or of one connected part.

    Attributes
    ----------
    axes : rows u, v, n: an orthonormal LPS frame, n normal to the planes.
    offsets_mm : position of each plane along n, ascending, ``(p,)``.
    slabs_mm : slab (interval along n) of each plane, ``(p, 2)``.
    polygons : closed contours of each plane in (u, v), mm.
    volume_mm3 : volume of the structure, see `stack_planes`.
    along_voxels : True if the contours run along the edges of voxels.
    warnings : warnings about unusual contours.
    parts : connected parts, the largest first; empty if there is only one part, which is this stack.
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
        """Return the connected parts, at least one."""
        return self.parts or (self,)


@lru_cache(maxsize=64)  # of recently used structures: a lesion is sampled about a dozen times
def stack_planes(structure: Structure) -> PlaneStack:
    """Return the contours of a structure, sorted into parallel planes.

    Repeated contours (also with other points, see `parts.without_repeats`) and contours with fewer than three points
    or without area are left out. In each connected part, the slab of a plane extends half the distance to each
    neighboring plane. At the ends, and at gaps over 1.6 × the median distance (missing slice, with a warning), it
    extends half the median distance.

    The volume is the sum of even-odd area × slab thickness. A correction accounts for the course of the areas between
    the planes and beyond both ends (similar to Simpson's rule, exact for ellipsoids). It is limited to
    `MAX_CORRECTION`, so the volume differs by less than 0.5 % from the uncorrected sum of other RT software. Contours
    along voxel edges represent voxels; their volume is not corrected.

    Raises
    ------
    GeometryError : there is no usable contour, the contour planes are not parallel, one plane has more than 500
        contours, or contours are more than 1 m apart.
    """
    all_contours = [np.asarray(c, dtype=np.float64) for c in structure.contours]
    normals = [_normal(c) for c in all_contours]
    usable = _unique([n for n, normal in enumerate(normals) if np.linalg.norm(normal) > MIN_AREA_MM2], all_contours)
    flat = sum(np.linalg.norm(normal) <= MIN_AREA_MM2 for normal in normals)
    where = f"ROI {structure.number} '{structure.name}'"
    if not usable:
        raise GeometryError(where, "has no closed contour with an area", "Contour the target and export it again")
    contours = [all_contours[n] for n in usable]
    reach = float(np.ptp(np.concatenate(contours), axis=0).max())
    if reach > MAX_REACH_MM:
        problem = f"spreads over {reach:.0f} mm: a contour lies far from the others"
        raise GeometryError(where, problem, "Correct the ROI and export it again")
    axes = _common_frame(np.asarray([normals[n] for n in usable]), where)
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
    largest_count = max(len(p) for p in polygons)
    if largest_count > MAX_PER_PLANE:
        problem = f"has {largest_count} contours in one plane, more than {MAX_PER_PLANE}"
        raise GeometryError(where, problem, "Export a simpler ROI")
    planes, repeats = [], 0
    for plane in polygons:
        single, plane_repeats = without_repeats(plane)
        planes.append(single)
        repeats += plane_repeats
    warnings: tuple[Warning, ...] = ()
    if repeats:
        warnings = (WarningCode.REPEATED_OUTLINE(where=where, count=repeats, tolerance=SAME_OUTLINE_MM),)
    if flat:
        warnings += (WarningCode.FLAT_OUTLINE(where=where, count=flat),)
    return _in_parts(axes, np.asarray(offsets), planes, where, warnings)


def _in_parts(
    axes: Array64, offsets: Array64, planes: list[list[Array64]], where: str, warnings: tuple[Warning, ...]
) -> PlaneStack:
    """Return one stack of planes, with its connected parts if there are several."""
    gaps = np.diff(offsets)
    groups = connected(planes, offsets, step_mm=usual_mm_of(gaps) if len(gaps) else 0.0)
    if len(groups) == 1:
        stack = _stack(axes, offsets, planes, where)
        return replace(stack, warnings=warnings + stack.warnings)
    steps = [np.diff(offsets[sorted({plane for plane, _ in group})]) for group in groups]
    part_steps = [usual_mm_of(step) for step in steps if len(step) > 1]
    # The step of a part with one or two planes is uncertain. It is taken from the other parts, contoured on the same
    # slices.
    usual = float(np.median(part_steps)) if part_steps else usual_mm_of(gaps) if len(gaps) else None
    parts = []
    for group in groups:
        used = sorted({plane for plane, _ in group})
        part_planes = [[planes[plane][n] for p, n in group if p == plane] for plane in used]
        parts.append(_stack(axes, offsets[used], part_planes, where, usual))
    slabs, _ = slabs_of(offsets, where)
    missing = _lost_between(parts)
    if missing:
        warnings += (WarningCode.CONTOUR_GAP(where=where, count=missing, step=usual or 0.0),)
    distance = _apart_mm(parts)
    if distance > APART_MM:
        warnings += (WarningCode.SEPARATE_PARTS(where=where, count=len(parts), apart=distance),)
    warnings += tuple(dict.fromkeys(w for part in parts for w in part.warnings))
    volume = sum(part.volume_mm3 for part in parts)
    along_voxels = all(part.along_voxels for part in parts)
    return PlaneStack(
        axes, offsets, slabs, tuple(tuple(p) for p in planes), volume, along_voxels, warnings, tuple(parts)
    )


def _stack(
    axes: Array64, offsets: Array64, planes: list[list[Array64]], where: str, usual_mm: float | None = None
) -> PlaneStack:
    """Return the planes of one part, with slabs and volume; ``usual_mm`` is the plane distance of the other parts."""
    slabs, warnings = slabs_of(offsets, where, usual_mm=usual_mm)
    areas = np.asarray([even_odd_area(p) for p in planes])
    along_voxels = _along_voxels(planes)
    if not areas.sum() > 0:
        problem = "has outlines that are traced twice: by the even-odd rule, they enclose no area"
        raise GeometryError(where, problem, "Contour each outline once and export the ROI again")
    volume = _volume(offsets, slabs, areas, as_contoured=along_voxels or bool(warnings))
    warnings += _loops(planes, areas, slabs[:, 1] - slabs[:, 0], where)
    if any(len(p) > 1 for p in planes):
        thickness = slabs[:, 1] - slabs[:, 0]
        outer = np.asarray([outer_area(p) for p in planes])
        crossing = np.asarray([crosses(p) for p in planes])
        # Where outlines overlap, the even-odd rule removes the common area from both.
        least_fraction = np.where(crossing, CROSSED, HOLLOW)
        flagged = areas < least_fraction * outer
        if outer[flagged] @ thickness[flagged] > FEW_PLANES * (outer @ thickness):
            inner_volume, outer_volume = float(areas @ thickness), float(outer @ thickness)
            values = {
                "volume": inner_volume / 1000,
                "outer": outer_volume / 1000,
                "share": 100 * inner_volume / outer_volume,
            }
            warnings += (WarningCode.HOLLOW_OUTLINE(where=where, **values),)
    return PlaneStack(axes, offsets, slabs, tuple(tuple(p) for p in planes), volume, along_voxels, warnings)


def _loops(planes: list[list[Array64]], areas: Array64, thickness: Array64, where: str) -> tuple[Warning, ...]:
    """Return a warning if outlines cross themselves.

    In that case loops of opposite orientation cancel in the signed area, so it differs from the even-odd area.
    """
    plane_areas = [
        area if len(p) == 1 else sum(even_odd_area([q]) for q in p) for p, area in zip(planes, areas, strict=True)
    ]
    within = float(np.asarray(plane_areas) @ thickness)
    signed = float(np.asarray([sum(net_area(p) for p in plane) for plane in planes]) @ thickness)
    if abs(signed - within) <= LOOPED * max([signed, within]):
        return ()
    return (WarningCode.CROSSED_OUTLINE(where=where, volume=within / 1000, signed=signed / 1000),)


def _apart_mm(parts: list[PlaneStack]) -> float:
    """Return the largest distance from a part's bounding box to that of its nearest other part, mm."""
    boxes = np.stack([_box(part) for part in parts])
    nearest = []
    for n, (low, high) in enumerate(boxes):
        others = np.delete(boxes, n, axis=0)
        gaps = np.maximum(np.maximum(others[:, 0] - high, low - others[:, 1]), 0.0)
        nearest.append(float(np.linalg.norm(gaps, axis=1).min()))
    return max(nearest)


def _lost_between(parts: list[PlaneStack]) -> int:
    """Return the number of pairs of parts that overlap in-plane, with a gap of less than `WIDE_MM` along the normal.

    Such a gap indicates missing planes.
    """
    boxes = np.stack([_box(part) for part in parts])
    count = 0
    for n, (low, high) in enumerate(boxes):
        lows, highs = boxes[n + 1 :, 0], boxes[n + 1 :, 1]
        common = np.minimum(high, highs) - np.maximum(low, lows)
        smaller = np.minimum(high - low, highs - lows)
        overlapping = (common[:, :2] > 0.5 * smaller[:, :2]).all(axis=1)
        count += int((overlapping & (common[:, 2] < 0) & (common[:, 2] > -WIDE_MM)).sum())
    return count


def _box(part: PlaneStack) -> Array64:
    """Return the lowest and highest corner (u, v, n) of a part, mm."""
    points = np.concatenate([p for plane in part.polygons for p in plane])
    return np.asarray([[*points.min(axis=0), part.slabs_mm[0, 0]], [*points.max(axis=0), part.slabs_mm[-1, 1]]])


def contour_volume_cc(structure: Structure) -> float:
    """Return the volume of the contours, cm³, computed without voxels; see `stack_planes`."""
    return stack_planes(structure).volume_mm3 / 1000.0


def centroid_mm(structure: Structure) -> Array64:
    """Return the center of the bounding box of all contour points, LPS mm (``(3,)``)."""
    points = np.concatenate([np.asarray(c, dtype=np.float64) for c in structure.contours])
    return np.asarray((points.min(axis=0) + points.max(axis=0)) / 2)


def _normal(points: Array64) -> Array64:
    """Return the vector area of a contour, mm².

    If its loops cancel each other, the result is the even-odd area along the normal of the fitted plane.
    """
    area = _vector_area(points)
    if len(points) < 4 or np.linalg.norm(area) > MIN_AREA_MM2:
        return area
    _, extent, axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    if extent[1] < MIN_AREA_MM2:  # all points on one line
        return area
    return np.asarray(axes[2] * even_odd_area([(points - points.mean(axis=0)) @ axes[:2].T]))


def _vector_area(points: Array64) -> Array64:
    """Return the area-weighted normal of a closed polygon in space, mm² (Newell's method)."""
    if len(points) < 3:
        return np.zeros(3)
    x, y, z = (points - points.mean(axis=0)).T
    u, v, w = (np.concatenate([c[1:], c[:1]]) for c in (x, y, z))  # plain products: np.cross takes ten times as long
    return 0.5 * np.asarray([y @ w - z @ v, z @ u - x @ w, x @ v - y @ u])


def _unique(numbers: list[int], contours: list[Array64]) -> list[int]:
    """Return the indices of the contours, without those that have the same points as an earlier one, in any order."""
    boxes: defaultdict[bytes, list[int]] = defaultdict(list)
    for n in numbers:
        box = np.round([contours[n].min(axis=0), contours[n].max(axis=0)], 3) + 0.0
        boxes[box.tobytes()].append(n)
    unique = []
    for alike in boxes.values():
        seen: set[bytes] = set()
        for n in alike:
            key = (np.unique(np.round(contours[n], 3), axis=0) + 0.0).tobytes() if len(alike) > 1 else b""
            if key not in seen:
                seen.add(key)
                unique.append(n)
    return sorted(unique)


def _common_frame(normals: Array64, where: str) -> Array64:
    largest = normals[np.argmax(np.linalg.norm(normals, axis=1))]
    signs = np.where(normals @ largest < 0, -1.0, 1.0)
    normal = (normals * signs[:, None]).sum(axis=0)
    normal /= np.linalg.norm(normal)
    areas = np.linalg.norm(normals, axis=1)
    # Small contours have noisy normals: only contours above a tenth of the largest area are tested.
    tested = areas > 0.1 * areas.max()
    cosines = np.abs(normals[tested] @ normal) / areas[tested]
    tilt = float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))))
    if tilt > MAX_TILT_BETWEEN_PLANES_DEG:
        raise GeometryError(
            where,
            f"its contours lie in planes tilted by {tilt:.1f}° against each other, expected parallel planes",
            "Export the ROI with contours of one image set only",
        )
    main = int(np.argmax(np.abs(normal)))
    if abs(normal[main]) > 1 - 1e-9:  # exact axes avoid rounding errors for axial contours
        normal = np.eye(3)[main]
    elif normal[main] < 0:
        normal = -normal
    helper = np.eye(3)[(main + 1) % 3]
    u = helper - (helper @ normal) * normal
    u /= np.linalg.norm(u)
    return np.stack([u, np.cross(normal, u), normal])


def _same_plane_mm(heights: Array64) -> float:
    """Return the height tolerance for contours of one plane, mm.

    In tilted planes, the heights differ by the rounding of the points, which is far less than the plane distance.
    """
    gaps = np.diff(np.sort(heights))
    gaps = gaps[gaps > SAME_PLANE_MM[0]]
    step = float(np.percentile(gaps, 90)) if len(gaps) else 0.0
    return float(np.clip(SAME_PLANE_STEP * step, *SAME_PLANE_MM))


def _separate(first: Array64, second: Array64) -> bool:
    """Return True if outlines are separate or nested in one plane; False for one outline in two almost equal planes."""
    if (first.min(axis=0) > second.max(axis=0)).any() or (second.min(axis=0) > first.max(axis=0)).any():
        return True
    distances, _ = cKDTree(first).query(second)
    return float(distances.min()) >= RIM_MM


def _along_voxels(polygons: list[list[Array64]]) -> bool:
    """Return True if all edges run along two perpendicular directions."""
    edges = np.concatenate([np.roll(p, -1, axis=0) - p for plane in polygons for p in plane])
    edges = edges[np.linalg.norm(edges, axis=1) > 1e-3]
    # Directions that differ by multiples of 90° have the same fourfold angle.
    phase = np.exp(4j * np.arctan2(edges[:, 1], edges[:, 0]))
    return bool(np.abs(phase - phase[0]).max() < 0.02)


def _volume(offsets: Array64, slabs: Array64, areas: Array64, as_contoured: bool) -> float:
    """Return the sum of area × slab thickness, mm³.

    Unless ``as_contoured``, it is corrected towards the integral of a cubic spline through the areas.
    """
    plain = float(areas @ (slabs[:, 1] - slabs[:, 0]))
    if as_contoured or len(offsets) < 3:
        return plain
    smooth = float(CubicSpline(offsets, areas).integrate(offsets[0], offsets[-1]))
    for z, area in ((offsets[2::-1], areas[2::-1]), (offsets[-3:], areas[-3:])):
        smooth += _end_volume(np.abs(z - z[-1])[::-1], area[::-1])
    return plain * (1 + float(np.clip(smooth / plain - 1, -MAX_CORRECTION, MAX_CORRECTION)))


def _end_volume(before: Array64, areas: Array64) -> float:
    """Return the volume beyond the last plane, mm³.

    It is the integral of the parabola through the last three areas if that reaches zero within one step; otherwise the
    last area times half a step.
    """
    step = float(before[1])
    a, b, c = np.linalg.solve(np.vander(-before, 3), areas)
    roots = [float(r.real) for r in np.roots([a, b, c]) if abs(r.imag) < 1e-9 and 0 <= r.real <= step]
    if not roots:
        return float(areas[0]) * step / 2
    end = min(roots)
    return float(a * end**3 / 3 + b * end**2 / 2 + c * end)
