"""Biologically effective dose (BED) by the linear-quadratic model, without repair during treatment or overall time.

The values are estimates for comparison, not exact values of a plan. Gamma Knife treatments are protracted: on one
iso-surface, BED varies by up to 15 % [Hopewell 2013]; gaps and the order of shots change it further [Klinge 2021].
Above 10 Gy per fraction the validity of the model itself is uncertain.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy.typing as npt

TUMOR, BRAIN = 10.0, 2.0  # usual α/β, Gy
NOTE = "LQ model, no correction for repair or time; unreliable above 10 Gy per fraction"
Dose = TypeVar("Dose", float, npt.NDArray[Any])


def bed_gy(dose_gy: Dose, fractions: int, *, alpha_beta_gy: float) -> Dose:
    """BED of a total dose given in equal fractions, Gy: n d (1 + d / (α/β)) [Fowler 1989, Br J Radiol 62:679].

    Raises
    ------
    ValueError : fewer than one fraction, or an α/β that is not positive.
    """
    if fractions < 1 or alpha_beta_gy <= 0:
        raise ValueError(f"{fractions} fraction(s), α/β {alpha_beta_gy} Gy: expected at least 1, and above 0")
    return dose_gy * (1 + dose_gy / fractions / alpha_beta_gy)
