"""Summary text of a subregion's statistics, identical in the panel, the report and the terminal."""

from __future__ import annotations

from RTResponseCAMLib.study import GY
from RTResponseCAMLib.subregion.boost import SimulatedBoost
from RTResponseCAMLib.subregion.statistics import Robustness, Statistics
from RTResponseCAMLib.translation import tr


def summary_text(statistics: Statistics, boost: SimulatedBoost | None = None) -> list[str]:
    """Return the summary text of a subregion and its simulated boost, one sentence per item; empty for no voxels."""
    if not statistics.volume_cc:
        return []
    return _statistics(statistics) + ([] if boost is None else [_boost(boost)])


def _statistics(statistics: Statistics) -> list[str]:
    """Return sentences on the robustness of a subregion and its relation to the dose; volumes in cm³, doses in Gy."""
    unit = statistics.subregion.unit if statistics.subregion is not None else GY
    sentences = [
        tr("Shifting the map by 0.5 to 1 mm gives a subregion of {range}.").format(
            range=_robust(statistics.shifts, unit)
        ),
        tr("A slightly lower or higher threshold gives a subregion of {range}.").format(
            range=_robust(statistics.thresholds, unit)
        ),
    ]
    if statistics.cold_share is not None:
        text = tr(
            "The subregion contains {cold:.0f} % of the tenth of the lesion with the lowest dose "
            "({chance:.0f} % by chance)."
        )
        sentences.append(text.format(cold=100 * statistics.cold_share, chance=100 * statistics.share))
    if statistics.below_prescription is not None:
        text = tr("{percent:.1f} % of it receives less than the prescription.")
        sentences.append(text.format(percent=100 * statistics.below_prescription))
    if statistics.association is not None:
        text = tr(
            "Correlation of evidence and dose in the lesion: ρ = {rho:+.2f}; without the radial component "
            "{beyond:+.2f} (p = {p:.3f} against rotated maps)."
        )
        association = statistics.association
        sentences.append(text.format(rho=association.rho, beyond=association.rho_beyond_radial, p=association.p))
    return sentences


def _boost(boost: SimulatedBoost) -> str:
    """Return the sentence on a simulated boost."""
    shots = tr("{shots} shot(s) of {collimator} mm add up to {added:.1f} {unit}")
    doses = tr("D98 {d98} {unit}, maximum of the lesion {maximum} {unit}")
    parts = [
        shots.format(shots=boost.shots, collimator=boost.collimator_mm, added=boost.added_gy, unit=boost.unit),
        doses.format(d98=_change(boost.d98_gy), maximum=_change(boost.maximum_gy), unit=boost.unit),
    ]
    if boost.bed10_gy is not None:
        parts.append(tr("BED of D98 {bed} Gy (α/β 10, without repair or time)").format(bed=_change(boost.bed10_gy)))
    if boost.risk_cc is not None:
        before, after = boost.risk_cc
        text = tr("V{level:g} {before:.2f} → {after:.2f} cm³ within 20 mm")
        parts.append(text.format(level=boost.risk_gy, before=before, after=after))
    text = tr("Simulated boost to {dose:g} {unit}: {parts}.")
    return text.format(dose=boost.wish_gy, unit=boost.unit, parts="; ".join(parts))


def _robust(robustness: Robustness, unit: str) -> str:
    low, high = robustness.volume_cc
    text = tr("{low:.3f} to {high:.3f} cm³, Dice at least {dice:.2f}").format(low=low, high=high, dice=robustness.dice)
    if robustness.mean_gy is None:
        return text
    low, high = robustness.mean_gy
    return text + tr(", mean dose {low:.1f} to {high:.1f} {unit}").format(low=low, high=high, unit=unit)


def _change(pair: tuple[float, float]) -> str:
    return f"{pair[0]:.1f} → {pair[1]:.1f}"
