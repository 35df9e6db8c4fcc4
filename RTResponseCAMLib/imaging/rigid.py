"""Rigid transforms between frames of reference as 4 × 4 matrices on LPS points in mm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.study import Structure

Matrix = npt.NDArray[np.float64]


def is_rigid(matrix: Matrix, tolerance: float = 1e-3) -> bool:
    """Return True for rotation and translation only: orthonormal, determinant +1, last row 0 0 0 1."""
    rotation = matrix[:3, :3]
    return bool(
        np.isfinite(matrix).all()
        and np.abs(rotation @ rotation.T - np.eye(3)).max() < tolerance
        and np.linalg.det(rotation) > 0
        and np.abs(matrix[3] - (0, 0, 0, 1)).max() < 1e-6
    )


def moved_points(matrix: Matrix, points_mm: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return the transformed LPS points ``(…, 3)``, mm."""
    return np.asarray(points_mm, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def moved_structure(matrix: Matrix, structure: Structure) -> Structure:
    """Return the structure in another frame of reference; its contours stay planar."""
    return replace(structure, contours=tuple(moved_points(matrix, c) for c in structure.contours))


def moved_image(matrix: Matrix, image: sitk.Image) -> sitk.Image:
    """Return the image in another frame of reference: origin and axes change, voxel values are not resampled."""
    grid = Grid.of(image)
    direction = matrix[:3, :3] @ np.asarray(grid.direction).reshape(3, 3)
    x, y, z = moved_points(matrix, np.asarray(grid.origin_mm)).tolist()
    moved = sitk.Image(image)
    moved.SetOrigin((x, y, z))
    moved.SetDirection(direction.ravel().tolist())
    return moved


def as_transform(matrix: Matrix) -> sitk.Euler3DTransform:
    """Return the matrix as a SimpleITK transform.

    Raises
    ------
    RuntimeError : the matrix is not rigid.
    """
    left, _, right = np.linalg.svd(matrix[:3, :3])  # removes rounding errors, which SimpleITK rejects
    transform = sitk.Euler3DTransform()
    transform.SetMatrix((left @ right).ravel().tolist(), 1e-6)
    transform.SetTranslation(matrix[:3, 3].tolist())
    return transform


def as_matrix(transform: sitk.Transform) -> Matrix:
    """Return the 4 × 4 matrix of a linear transform."""
    origin = np.asarray(transform.TransformPoint((0.0, 0.0, 0.0)))
    columns = [np.asarray(transform.TransformPoint(tuple(row))) - origin for row in np.eye(3).tolist()]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = np.stack(columns, axis=1), origin
    return matrix
