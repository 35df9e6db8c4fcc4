"""Properties of realistic lesions, drawn with the spread between lesions of real metastases.

``Testing/Benchmarks/phantom_calibration.py`` adjusts the properties until features of the lesions, seen by scanners,
have the percentiles of 244 Gamma Knife metastases, and writes them as a table; ``phantom_realism.py`` compares. None
of the properties bears on the response, except the resistant fraction, the prescription in the family "dose", and the
one that a confounded variant names.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from RTResponseCAMLib.phantom.spec import Variant

# Volume of real lesions at these percentiles, cm³.
VOLUME_PERCENT = (0.0, 5.0, 25.0, 50.0, 75.0, 95.0, 100.0)
VOLUME_CC = (0.012, 0.021, 0.047, 0.136, 0.535, 9.42, 22.0)
TABLE = Path(__file__).with_name("properties.csv")
CLASSES_CC = (0.1, 0.3, 1.0, 5.0)  # between the size classes of the table
RESISTANT = (0.02, 0.78)  # range of the resistant fraction
GROWTH, SHRINKAGE, SPREAD = 1.22, 0.46, 0.08  # follow-up volume / volume of the resistant and the sensitive part
CONFOUNDED = 0.12  # shift of the volume ratio by scanner or site in the confounded variants
PER_LOG_CC = 0.10  # shift of the volume ratio per unit of the logarithm of the volume in the variant "volume"


@dataclass(frozen=True)
class Properties:
    """Drawn properties of one lesion.

    Attributes
    ----------
    volume_cc : volume of the contoured lesion, cm³.
    elongation, flatness : second and third axis relative to the longest.
    roughness : amplitude of the lobes, relative to the radius.
    ruffle_mm : amplitude of the fine unevenness of the surface, mm.
    brightness : enhancement of the viable tumor, relative to white matter.
    rim, rim_mm : excess brightness of the rim, relative to the tumor, and its width, mm.
    necrotic_fraction, necrosis : fraction of the volume that is necrotic, and its brightness relative to white matter.
    texture, texture_mm : standard deviation of the texture relative to the tumor, and its correlation length, mm.
    edema, edema_mm : darkening of the tissue around the lesion, and its reach, mm.
    margin_mm : distance from the contour to the enhancing edge, mm; positive: the contour lies outside.
    resistant_fraction : fraction of the viable tumor that is resistant.
    """

    volume_cc: float
    elongation: float
    flatness: float
    roughness: float
    ruffle_mm: float
    brightness: float
    rim: float
    rim_mm: float
    necrotic_fraction: float
    necrosis: float
    texture: float
    texture_mm: float
    edema: float
    edema_mm: float
    margin_mm: float
    resistant_fraction: float

    @property
    def radius_mm(self) -> float:
        """Radius of the sphere of the same volume, mm."""
        return float((self.volume_cc * 1000 * 3 / (4 * np.pi)) ** (1 / 3))


def sample_volumes_cc(rng: np.random.Generator, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return volumes with the distribution of real metastases, cm³ ``(count,)``, largest first."""
    logs = np.interp(rng.uniform(0, 100, count), VOLUME_PERCENT, np.log(VOLUME_CC))
    return np.sort(np.exp(logs))[::-1]


def sample_properties(rng: np.random.Generator, volume_cc: float) -> Properties:
    """Return the properties of a lesion of a given volume: those of a row of its size class in ``properties.csv``."""
    rows = _table()[int(np.searchsorted(CLASSES_CC, volume_cc, side="right"))]
    return Properties(
        volume_cc=volume_cc,
        resistant_fraction=float(rng.uniform(*RESISTANT)),
        **rows[int(rng.integers(len(rows)))],
    )


@cache
def _table() -> tuple[tuple[Mapping[str, float], ...], ...]:
    """Rows of the table by size class."""
    rows: list[list[Mapping[str, float]]] = [[] for _ in range(len(CLASSES_CC) + 1)]
    with TABLE.open(encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            rows[int(row.pop("size_class"))].append({name: float(value) for name, value in row.items()})
    return tuple(tuple(part) for part in rows)


def volume_ratio(
    properties: Properties, rng: np.random.Generator, *, variant: Variant, confounder: float, shift: float = 0.0
) -> float:
    """Return follow-up volume / planning volume: the resistant part grows a little, the sensitive part shrinks.

    Parameters
    ----------
    confounder : −1 or 1 by scanner or site; used by the variants of these names.
    shift : change of the ratio by something else, for example the dose.
    """
    resistant = properties.resistant_fraction
    grow, shrink = rng.normal(GROWTH, SPREAD), rng.normal(SHRINKAGE, SPREAD)
    ratio = resistant * grow + (1 - resistant) * shrink + shift
    if variant is Variant.VOLUME:
        ratio += PER_LOG_CC * np.log(properties.volume_cc / 0.136)
    if variant in (Variant.SCANNER, Variant.SITE):
        ratio += CONFOUNDED * confounder
    return float(np.clip(ratio, 0.05, 2.5))
