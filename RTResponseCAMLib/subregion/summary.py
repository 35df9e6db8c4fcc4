"""Summary text of a subregion's statistics, identical in the panel, the report and the terminal."""

from __future__ import annotations

from RTResponseCAMLib.study import GY
from RTResponseCAMLib.subregion.boost import SimulatedBoost
from RTResponseCAMLib.subregion.statistics import Robustness, Statistics


def summary_text(found: Statistics, boost: SimulatedBoost | None = None) -> list[str]:
    """Return the summary text of a subregion and its simulated boost, one sentence per item; empty for no voxels."""
    if not found.volume_cc:
        return []
    return _statistics(found) + ([] if boost is None else [_boost(boost)])


def _statistics(found: Statistics) -> list[str]:
    """Return sentences on the robustness of a subregion and its relation to the dose; volumes in cm³, doses in Gy."""
    unit = found.subregion.unit if found.subregion is not None else GY
    sentences = [
        f"With the map shifted by 0.5 to 1 mm: {_robust(found.shifts, unit)}.",
        f"With a slightly lower or higher threshold: {_robust(found.thresholds, unit)}.",
    ]
    if found.cold_share is not None:
        chance = f"{100 * found.share:.0f} % by chance"
        sentences.append(f"It contains {100 * found.cold_share:.0f} % of the lesion's coldest tenth ({chance}).")
    if found.below_prescription is not None:
        sentences.append(f"{100 * found.below_prescription:.1f} % of it receives less than the prescription.")
    if found.association is not None:
        association = found.association
        sentences.append(
            f"Correlation of evidence and dose in the lesion: ρ = {association.rho:+.2f}; without the radial component "
            f"{association.rho_beyond_radial:+.2f} (p = {association.p:.3f} against rotated maps)."
        )
    return sentences


def _boost(boost: SimulatedBoost) -> str:
    """Return the sentence on a simulated boost."""
    parts = [
        f"{boost.shots} shot{'' if boost.shots == 1 else 's'} of {boost.collimator_mm} mm "
        f"add{'s' if boost.shots == 1 else ''} up to {boost.added_gy:.1f} {boost.unit}",
        f"D98 {_change(boost.d98_gy)} {boost.unit}, maximum of the lesion {_change(boost.maximum_gy)} {boost.unit}",
    ]
    if boost.bed10_gy is not None:
        parts.append(f"BED of D98 {_change(boost.bed10_gy)} Gy (α/β 10, without repair or time)")
    if boost.risk_cc is not None:
        before, after = boost.risk_cc
        parts.append(f"V{boost.risk_gy:g} {before:.2f} → {after:.2f} cm³ within 20 mm")
    return f"Simulated boost to {boost.wish_gy:g} {boost.unit}: {'; '.join(parts)}."


def _robust(found: Robustness, unit: str) -> str:
    text = f"{found.volume_cc[0]:.3f} to {found.volume_cc[1]:.3f} cm³, Dice at least {found.dice:.2f}"
    if found.mean_gy is None:
        return text
    return f"{text}, mean dose {found.mean_gy[0]:.1f} to {found.mean_gy[1]:.1f} {unit}"


def _change(pair: tuple[float, float]) -> str:
    return f"{pair[0]:.1f} → {pair[1]:.1f}"
