"""Specification of a phantom; everything else follows from the seed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np


class Variant(str, Enum):
    """Visibility of the resistant subregion in the MR, from easy to impossible.

    DARKER : darker and coarser than the rest.
    TEXTURE : coarser only; its mean equals that of the rest.
    VOLUME : a fainter texture; large lesions respond worse, so that volume alone predicts a part of the label.
    SCANNER, SITE : lesions of one scanner, or of one side of the head, respond worse; not in the family "coarse".
    NONE : present but invisible; a correct pipeline performs at chance level.

    In families other than "coarse", what the resistant part looks like is the family's; DARKER adds a darkening.
    """

    DARKER = "darker"
    TEXTURE = "texture"
    VOLUME = "volume"
    SCANNER = "scanner"
    SITE = "site"
    NONE = "none"


@dataclass(frozen=True)
class PhantomSpec:
    """One synthetic patient.

    Attributes
    ----------
    seed, patient : together they fix every random number.
    lesions : number of targets; None samples 1 to 5 as in mixed practice (mean about 1.8).
    columns, rows, slices, spacing_mm : planning MR; spacing is (column step, row step, slice step), mm.
    tilt_deg : rotation of the MR slices about the left-right axis.
    dose_files : "one" box for all targets, or "per-target" boxes.
    second_series : also write a T2 series with its own copy of the plan, as GammaPlan exports it.
    rtplan, follow_up : whether to write these objects.
    family : how resistance arises, see `phantom.families`.
    scanner : scanner of all MR of the patient, see `phantom.scanner`; "ideal" has white noise only.
    head : NIfTI file of a real T1 head in which the lesions are planted, see `phantom.real_head`; grid and noise are
        then those of the file. "" for a synthetic head.
    brain_only : the file shows a brain without its skull.
    mid_treatment : also write an MR of day 30, as acquired between the fractions of an adaptive course.
    """

    seed: int = 1
    patient: int = 1
    variant: Variant = Variant.TEXTURE
    lesions: int | None = None
    columns: int = 208
    rows: int = 240
    slices: int = 168
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    tilt_deg: float = 0.0
    dose_files: str = "one"
    second_series: bool = False
    rtplan: bool = True
    follow_up: bool = True
    mid_treatment: bool = False
    family: str = "coarse"
    scanner: str = "ideal"
    head: str = ""
    brain_only: bool = False

    def rng(self, stream: int) -> np.random.Generator:
        """Independent random generator for one purpose, numbered by ``stream``."""
        return np.random.default_rng([self.seed, self.patient, stream])
