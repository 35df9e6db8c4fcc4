"""Properties of realistic lesions, drawn with the spread between lesions of real metastases.

Medians and spreads follow the percentiles of 244 Gamma Knife metastases and of real contrast-enhanced tumors that
``Testing/Benchmarks/phantom_realism.py`` compares with. None of the properties bears on the response, except the
resistant fraction, the prescription in the family "dose", and the one that a confounded variant names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from RTResponseCAMLib.phantom.spec import Variant

# Volume of real lesions at these percentiles, cm³.
VOLUME_PERCENT = (0.0, 5.0, 25.0, 50.0, 75.0, 95.0, 100.0)
VOLUME_CC = (0.012, 0.021, 0.047, 0.136, 0.535, 9.42, 22.0)
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
    """Return the properties of a lesion of a given volume."""
    large = float(np.clip(np.log10(volume_cc / 0.1) / 2, 0.0, 1.0))  # 0 up to 0.1 cm³, 1 from 10 cm³
    elongation = float(np.clip(rng.normal(0.95 - 0.06 * large, 0.08), 0.58, 1.0))
    has_necrosis = rng.uniform() < 0.15 + 0.80 * large
    return Properties(
        volume_cc=volume_cc,
        elongation=elongation,
        flatness=float(elongation * np.clip(rng.normal(0.82, 0.17), 0.42, 1.0)),
        roughness=float(np.exp(rng.normal(np.log(0.07 + 0.13 * large), 0.40))),
        ruffle_mm=float(np.exp(rng.normal(np.log(0.36 + 0.50 * large), 0.40))),
        brightness=float(np.exp(rng.normal(np.log(1.40), 0.17))),
        rim=float(np.clip(rng.normal(0.12 + 0.25 * large, 0.13), -0.1, 0.8)),
        rim_mm=float(rng.uniform(0.8, 1.6)),
        necrotic_fraction=float(rng.beta(1.4, 3.0) * (0.30 + 0.40 * large)) if has_necrosis else 0.0,
        necrosis=float(rng.uniform(0.30 - 0.25 * large, 0.70 - 0.25 * large)),
        texture=float(np.exp(rng.normal(np.log(0.12 + 0.05 * large), 0.40))),
        texture_mm=float(np.exp(rng.normal(np.log(0.60), 0.35))),
        edema=float(np.clip(rng.normal(0.18 + 0.10 * large, 0.10), 0.0, 0.45)),
        edema_mm=float(rng.uniform(3.0, 6.0 + 6.0 * large)),
        margin_mm=float(np.clip(rng.normal(0.20, 0.35), -0.5, 1.2)),
        resistant_fraction=float(rng.uniform(*RESISTANT)),
    )


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
