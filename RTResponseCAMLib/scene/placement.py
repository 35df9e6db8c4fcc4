"""Where inputs lie under transforms: moved together they stay one study, moved apart they are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RIGID = 1e-3  # of the axes' lengths and angles


@dataclass(frozen=True)
class Placement:
    """The transform that all inputs lie under (None without one), and why they cannot be used ("" when they can)."""

    transform: Any
    problem: str

    @property
    def transform_id(self) -> str | None:
        """Id of the shared transform; None without one, or with a problem."""
        return None if self.transform is None or self.problem else str(self.transform.GetID())


def placement_of(nodes: Sequence[tuple[str, Any]]) -> Placement:
    """Placement of the inputs, each with its role in words; inputs that are None do not count."""
    there = [(role, node, node.GetParentTransformNode()) for role, node in nodes if node is not None]
    moved = [(role, node, transform) for role, node, transform in there if transform is not None]
    if not moved:
        return Placement(None, "")
    role, node, transform = moved[0]
    under = f"The {role} '{node.GetName()}' lies under the transform '{transform.GetName()}'"
    if len({transform.GetID() for _, _, transform in moved}) > 1 or len(moved) < len(there):
        others = "the other inputs do not: harden it, take it away, or put all of them under it (Data module)."
        return Placement(transform, f"{under}, and {others}")
    if not is_rigid(transform):
        return Placement(
            transform, f"{under}, which is not rigid: it does more than turn and move. Harden it (Data module)."
        )
    return Placement(transform, "")


def is_rigid(transform: Any) -> bool:
    """Whether a transform, with all that it lies under itself, turns and moves only; a mirror does more."""
    if not transform.IsTransformToWorldLinear():
        return False
    axes = _to_world(transform)[:3, :3]
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() < RIGID and np.linalg.det(axes) > 0)


def in_world(node: Any, ras_mm: Sequence[float]) -> tuple[float, float, float]:
    """A point of a node's own coordinates in those of the views, RAS mm; as it is under a transform that bends."""
    transform = node.GetParentTransformNode()
    if transform is None or not transform.IsTransformToWorldLinear():
        x, y, z = ras_mm
        return x, y, z
    x, y, z = (_to_world(transform) @ np.asarray([*ras_mm, 1.0]))[:3].tolist()
    return x, y, z


def _to_world(transform: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    return np.asarray([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
