"""Bodies with known volumes, as contours."""

from __future__ import annotations

import math

import numpy as np

from RTResponseCAMLib.study import Structure


def ball(radius, center=(0.3, -0.2, 0.1), step=1.0, number=1, scale=(1, 1, 1)):
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    rings = []
    for z in np.arange(-40, 40.1, step) + 0.37:
        if abs(z) < radius * scale[2]:
            ring = radius * math.sqrt(1 - (z / radius / scale[2]) ** 2)
            xy = np.column_stack([ring * scale[0] * np.cos(angle), ring * scale[1] * np.sin(angle)])
            rings.append(np.column_stack([xy, np.full(len(angle), z)]) + center)
    return Structure(number, f"ball {number}", "GTV", tuple(rings))


def cc(radius):
    return 4 / 3 * math.pi * radius**3 / 1000


def circle(radius, z, middle=(0.0, 0.0), points=120):
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    x, y = middle
    return np.column_stack([x + radius * np.cos(angle), y + radius * np.sin(angle), np.full(points, z)])


def rings(radius, step=1.0, phase=0.0):
    """Circles of a ball around the origin, in planes that lie half a step from its poles."""
    heights = np.arange(-radius + step / 2 + phase, radius, step)
    return [circle(float(np.sqrt(radius**2 - h**2)), h) for h in heights]
