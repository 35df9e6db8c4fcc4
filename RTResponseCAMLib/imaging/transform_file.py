"""Reading of rigid transforms from files in ITK's text format, without ITK's own reader, which may crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.rigid import Matrix, as_matrix, is_rigid

MAX_TRANSFORM_BYTES = 100_000
TRANSFORMS: dict[str, Any] = {
    "Euler3DTransform": sitk.Euler3DTransform,
    "VersorRigid3DTransform": sitk.VersorRigid3DTransform,
    "AffineTransform": lambda: sitk.AffineTransform(3),
    "MatrixOffsetTransformBase": lambda: sitk.AffineTransform(3),
}


def read_transform(path: Path) -> Matrix:
    """Return the rigid transform from planning to follow-up points (LPS mm), read from a text file (.tfm, .txt) of ITK.

    Slicer writes this file for a linear transform that moves the follow-up onto the plan. The text is parsed here,
    because a damaged file can crash ITK's own reader.

    Raises
    ------
    GeometryError : the file is not a transform file, its transform type is not in `TRANSFORMS`, or it is not rigid.
    """
    try:
        text = path.read_text(encoding="ascii") if path.stat().st_size < MAX_TRANSFORM_BYTES else ""
        if sum(line.startswith("Transform:") for line in text.splitlines()) != 1:
            raise ValueError
        lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))
        kind = TRANSFORMS[lines["Transform"].strip().split("_")[0]]
        values, fixed = ([float(v) for v in lines[key].split()] for key in ("Parameters", "FixedParameters"))
        transform = kind()
        if len(values) != len(transform.GetParameters()) or not np.isfinite(values + fixed).all():
            raise ValueError
        if not 3 <= len(fixed) <= 4:
            raise ValueError
        transform.SetFixedParameters([*fixed, 0.0][: len(transform.GetFixedParameters())])
        transform.SetParameters(values)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        kinds = ", ".join(TRANSFORMS)
        raise GeometryError(path, f"cannot be read as a transform ({kinds})", "Save it as .tfm or .txt") from error
    matrix = as_matrix(transform)
    if not is_rigid(matrix):
        raise GeometryError(path, "is not a rigid transform", "Give rotation and translation only")
    return matrix
