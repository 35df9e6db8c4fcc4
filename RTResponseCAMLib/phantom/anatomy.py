"""Synthetic head without lesions: scalp, skull, cortex, white matter, ventricles, cerebellum, eyes, vessels.

Intensities are relative, as in contrast-enhanced T1, with white matter at about 0.75. The head must be recognized as a
head and give the classifier realistic surroundings; it is not an anatomical atlas.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.phantom.field import Array32, Array64, Field, random_field
from RTResponseCAMLib.phantom.spec import PhantomSpec

BRAIN_MM = np.asarray([66.0, 83.0, 60.0])
SLAB = 8  # slices rendered at once: small enough for the CPU's cache
CSF, GRAY, WHITE, BONE, MARROW, FAT, MUSCLE = 0.22, 0.56, 0.74, 0.07, 0.33, 0.95, 0.42


@dataclass(frozen=True)
class Anatomy:
    """Head of one synthetic person: brain size (mm) and random fields."""

    brain_mm: Array64
    folds: Field
    mottle: Field
    bias: Field


def sample_anatomy(spec: PhantomSpec) -> Anatomy:
    """Sample a head from the seed."""
    rng = spec.rng(1)
    return Anatomy(
        BRAIN_MM * rng.normal(1.0, 0.03, 3).clip(0.93, 1.06),
        random_field(rng, 100.0, scale_mm=4.5),
        random_field(rng, 110.0, scale_mm=2.5, fineness=1.5),
        random_field(rng, 140.0, scale_mm=45.0),
    )


def depth_mm(anatomy: Anatomy, x: Array32, *, y: Array32, z: Array32) -> Array32:
    """Approximate depth below the brain's surface, positive inside, mm (head frame)."""
    a, b, c = anatomy.brain_mm
    lower = np.where(z < 0, np.float32(0.92), np.float32(1.0))  # the base is flatter than the vertex
    distance = np.sqrt(x * x + y * y + z * z) + np.float32(1e-3)
    level = np.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / (c * lower)) ** 2) + np.float32(1e-6)
    return np.asarray(distance * (1 / level - 1), dtype=np.float32)


def in_ventricles(x: Array32, y: Array32, *, z: Array32) -> Array32:
    """Level function of the lateral and third ventricles, positive inside (head frame, mm)."""
    ax = np.abs(x)
    horn = 5.0 + 0.006 * (y - 2.0) ** 2
    lateral = 1 - ((ax - horn) / 5.5) ** 2 - ((y - 4.0) / 36.0) ** 2 - ((z - 9.0 + 0.006 * y * y) / 7.0) ** 2
    third = 1 - (x / 2.2) ** 2 - ((y - 2.0) / 13.0) ** 2 - ((z + 6.0) / 9.0) ** 2
    return np.asarray(np.maximum(lateral, third), dtype=np.float32)


def render_head(anatomy: Anatomy, grid: Grid, *, to_head: sitk.Transform, t2: bool = False) -> Array32:
    """Noise-free intensities on an image grid, ``[z, y, x]``; rendered in slabs, with one thread per CPU core."""
    image = np.empty(grid.shape, dtype=np.float32)
    reference = grid.blank()
    folds, mottle = anatomy.folds.on(reference, to_head), anatomy.mottle.on(reference, to_head)
    affine = _affine(reference, to_head)

    def render_slab(k: int) -> None:  # NumPy only: SimpleITK's first calls are not thread-safe
        slab = slice(k, min(k + SLAB, grid.size[2]))
        x, y, z = _coordinates(affine, grid.shape, slab)
        image[slab] = _render_slab(anatomy, x, y, z, folds[slab], mottle[slab], t2)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(render_slab, range(0, grid.size[2], SLAB)))
    return image


def _render_slab(
    anatomy: Anatomy, x: Array32, y: Array32, z: Array32, folds: Array32, mottle: Array32, t2: bool
) -> Array32:
    depth = depth_mm(anatomy, x, y=y, z=z)
    image = outside_the_brain(x, y, z=z, depth=depth, mottle=mottle)
    brain = depth > 0
    sulcus = np.abs(folds) - np.clip((11.0 - depth) / 11.0, 0, None) * 0.30
    cortex = _soft(0.55 - sulcus, 0.25) * _soft(13.0 - depth, 2.0)
    tissue = WHITE + (GRAY - WHITE) * np.maximum(cortex, _soft(3.5 - depth, 1.0))
    tissue = tissue + (CSF - tissue) * _soft(-sulcus, 0.10) * _soft(12.0 - depth, 2.0)
    deep_gray = 1 - ((np.abs(x) - 19.0) / 8.0) ** 2 - ((y - 2.0) / 20.0) ** 2 - ((z - 3.0) / 12.0) ** 2
    tissue = tissue + (0.64 - tissue) * _soft(deep_gray, 0.3)
    cerebellum = 1 - (x / 46.0) ** 2 - ((y - 46.0) / 27.0) ** 2 - ((z + 38.0) / 18.0) ** 2
    folia = 0.60 + 0.07 * np.sin(2 * np.pi * (z + 38.0 + 0.15 * np.abs(x) + 1.2 * folds) / 5.0)
    tissue = tissue + (folia - tissue) * _soft(cerebellum, 0.12)
    tissue = tissue + (0.12 - tissue) * _soft(0.05 - np.abs(cerebellum), 0.05) * (z > -40)
    tissue = tissue + (CSF - tissue) * _soft(in_ventricles(x, y, z=z), 0.15)
    tissue = tissue * (1 + 0.025 * mottle)
    sinus = 3.2 - np.sqrt(x * x + (depth - 1.5) ** 2)
    tissue = tissue + (1.35 - tissue) * _soft(sinus, 0.6) * (z > -10) * (y > -70)
    falx = _soft(0.7 - np.abs(x), 0.4) * _soft(22.0 - depth, 2.0) * (z > 5)
    tissue = tissue + (0.80 - tissue) * 0.7 * falx
    image = np.where(brain, tissue, image)
    return np.asarray(np.where(brain, 1.1 - image, image * 0.6) if t2 else image, dtype=np.float32)


def outside_the_brain(x: Array32, y: Array32, *, z: Array32, depth: Array32, mottle: Array32) -> Array32:
    """Skull, scalp, face, neck and eyes around a brain of which the depth is known (head frame, mm)."""
    image = np.zeros_like(depth)
    face = 1 - (x / 56.0) ** 2 - ((y + 46.0) / 46.0) ** 2 - ((z + 62.0) / 58.0) ** 2
    neck = np.minimum(1 - (x / 52.0) ** 2 - ((y - 10.0) / 58.0) ** 2, (-28.0 - z) / 30.0)
    soft = np.maximum(face, neck)
    image = np.where(soft > 0, MUSCLE * (1 + 0.12 * mottle), image)
    image = np.where((soft > 0) & (soft < 0.10), FAT * 0.9, image)
    airway = np.minimum(1 - (x / 9.0) ** 2 - ((y + 38.0) / 22.0) ** 2, (-50.0 - z) / 5.0)
    image = np.where(airway > 0, 0.02, image)
    shell = -depth
    image = np.where((shell > 0) & (shell < 15.0), FAT * (1 + 0.05 * mottle), image)
    image = np.where((shell > 0) & (shell < 13.2) & (shell > 10.5), MUSCLE + 0.25, image)
    image = np.where((shell > 0) & (shell < 9.5), BONE, image)
    image = np.where((shell > 4.6) & (shell < 7.0), MARROW * (1 + 0.2 * mottle), image)
    image = np.where((shell > 0) & (shell < 2.4), CSF, image)
    eye = 12.0 - np.sqrt((np.abs(x) - 31.0) ** 2 + (y + 66.0) ** 2 + (z + 36.0) ** 2)
    image = np.where(eye > -1.5, 0.62, image)
    return np.where(eye > 0, 0.20, image)


def head_coordinates(reference: sitk.Image, to_head: sitk.Transform) -> tuple[Array32, Array32, Array32]:
    """x, y, z of every voxel center in the head frame, three arrays ``[z, y, x]``, mm (affine transforms)."""
    nx, ny, nz = reference.GetSize()
    return _coordinates(_affine(reference, to_head), (nz, ny, nx), slice(0, nz))


def _affine(reference: sitk.Image, to_head: sitk.Transform) -> Array64:
    """Affine map from voxel index to head frame: point of voxel (0, 0, 0), steps along i, j, k; four rows, mm."""
    zero = np.asarray(to_head.TransformPoint(reference.TransformIndexToPhysicalPoint((0, 0, 0))))
    rows = [zero]
    for axis in range(3):
        unit = [0, 0, 0]
        unit[axis] = 1
        rows.append(np.asarray(to_head.TransformPoint(reference.TransformIndexToPhysicalPoint(unit))) - zero)
    return np.stack(rows)


def _coordinates(place: Array64, shape: tuple[int, int, int], part: slice) -> tuple[Array32, Array32, Array32]:
    """x, y, z of the voxels of slices ``part``, ``[z, y, x]``."""
    zero, *steps = place
    k = np.arange(part.start, part.stop, dtype=np.float32)
    j, i = (np.arange(n, dtype=np.float32) for n in shape[1:])
    coordinates = [
        (zero[c] + steps[2][c] * k[:, None, None] + steps[1][c] * j[None, :, None] + steps[0][c] * i[None, None, :])
        for c in range(3)
    ]
    return tuple(np.asarray(c, dtype=np.float32) for c in coordinates)  # type: ignore[return-value]


def _soft(value: npt.NDArray[np.floating[Any]], width: float) -> Array32:
    """Smooth step from 0 (value ≪ 0) to 1 (value ≫ 0)."""
    return np.asarray(np.clip(0.5 + value / (2 * width), 0, 1), dtype=np.float32)
