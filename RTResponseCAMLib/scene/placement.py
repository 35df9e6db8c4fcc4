"""Placement of the inputs under transforms: they are one study only under the same rigid transform, or under none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from RTResponseCAMLib.translation import tr

RIGID = 1e-3  # tolerance of the axes' lengths and angles


@dataclass(frozen=True)
class Placement:
    """Transform shared by all inputs, and the reason why the inputs cannot be used.

    Attributes
    ----------
    transform : transform node; None without one.
    problem : sentence; "" when the inputs can be used.
    """

    transform: Any
    problem: str

    @property
    def transform_id(self) -> str | None:
        """Id of the shared transform; None without a transform, or with a problem."""
        return None if self.transform is None or self.problem else str(self.transform.GetID())


def placement_of(nodes: Sequence[tuple[str, Any]]) -> Placement:
    """Placement of the inputs, given as pairs of a role (text) and a node; nodes that are None are ignored."""
    inputs = [(role, node, node.GetParentTransformNode()) for role, node in nodes if node is not None]
    transformed = [(role, node, transform) for role, node, transform in inputs if transform is not None]
    if not transformed:
        return Placement(None, "")
    role, node, transform = transformed[0]
    names = {"role": role, "node": node.GetName(), "transform": transform.GetName()}
    if len({transform.GetID() for _, _, transform in transformed}) > 1 or len(transformed) < len(inputs):
        text = tr(
            "The {role} '{node}' is under the transform '{transform}', but not all inputs are: harden it, remove it, "
            "or apply it to all inputs (Data module)."
        )
        return Placement(transform, text.format(**names))
    if not is_rigid(transform):
        return Placement(
            transform,
            tr(
                "The {role} '{node}' is under the transform '{transform}', which is not rigid (more than rotation and "
                "translation). Harden it (Data module)."
            ).format(**names),
        )
    return Placement(transform, "")


def is_rigid(transform: Any) -> bool:
    """Whether a transform, with all its parent transforms, only rotates and translates; a reflection is not rigid."""
    if not transform.IsTransformToWorldLinear():
        return False
    axes = _to_world(transform)[:3, :3]
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() < RIGID and np.linalg.det(axes) > 0)


def in_world(node: Any, ras_mm: Sequence[float]) -> tuple[float, float, float]:
    """Convert a point from a node's coordinates to world RAS, mm; unchanged under a nonlinear transform."""
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
