"""Families of synthetic lesions: what makes a part of a lesion resistant, and how lesions differ.

A family is one file with a mechanism and one entry in `FAMILIES`. "coarse" is the first phantom, on which the shipped
model was trained; the others have the shapes, sizes and spreads of real metastases (`families.properties`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.phantom.families import mixture, necrosis, perfusion, texture, vessels
from RTResponseCAMLib.phantom.families.body import Mechanism, RealisticLesion, make_lesion, sample_shape
from RTResponseCAMLib.phantom.families.properties import Properties, sample_properties, volume_ratio
from RTResponseCAMLib.phantom.field import Array64
from RTResponseCAMLib.phantom.lesion import PhantomLesion
from RTResponseCAMLib.phantom.spec import PhantomSpec, Variant

COARSE = "coarse"
Lesion = PhantomLesion | RealisticLesion
DOSES_GY = (15.0, 24.0)  # range of the prescription in the family "dose"
PER_GY = 0.055  # fall of the volume ratio per Gy


@dataclass(frozen=True)
class Family:
    """One way in which resistance arises.

    Attributes
    ----------
    title : what drives the response and what can be seen of it.
    sample : returns the mechanism of one lesion.
    drives_necrosis : the resistant fraction replaces the necrotic fraction.
    drives_dose : the prescription varies and bears on the response.
    """

    name: str
    title: str
    sample: Callable[[np.random.Generator, Properties], Mechanism]
    drives_necrosis: bool = False
    drives_dose: bool = False


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family("texture", "coarser texture of equal mean", texture.sample),
        Family("vessels", "hypoxia far from vessels: dimmer, next to necrosis", vessels.sample),
        Family("perfusion", "defects of the enhancing rim", perfusion.sample),
        Family("mixture", "streaks of equal mean and variance", mixture.sample),
        Family("necrosis", "dark core, with texture as a distractor", necrosis.sample, drives_necrosis=True),
        Family("dose", "coarser texture together with the prescribed dose", texture.sample, drives_dose=True),
    )
}


def family_of(name: str) -> Family | None:
    """Return a family by name; None for "coarse", the first phantom.

    Raises
    ------
    RTResponseError : there is no such family.
    """
    if name == COARSE:
        return None
    if name not in FAMILIES:
        names = ", ".join([COARSE, *FAMILIES])
        raise RTResponseError("--family", f"there is no family '{name}'", f"Choose one of {names}")
    return FAMILIES[name]


def draw(
    family: Family, spec: PhantomSpec, *, rng: np.random.Generator, volume_cc: float, center_mm: Array64, scanner: int
) -> tuple[Properties, float, float | None]:
    """Return the properties, the volume ratio and the prescription (Gy) of one lesion, without its image.

    Parameters
    ----------
    center_mm : place in the head frame; the variant "site" shifts the response by its side.
    scanner : −1 or 1; the variant "scanner" shifts the response by it.
    """
    properties = sample_properties(rng, volume_cc)
    if family.drives_necrosis:
        properties = replace(properties, necrotic_fraction=0.0)
    prescription, shift = None, 0.0
    if family.drives_dose:
        prescription = float(np.round(rng.uniform(*DOSES_GY), 1))
        shift = -PER_GY * (prescription - sum(DOSES_GY) / 2)
    side = 1.0 if center_mm[0] > 0 else -1.0
    confounder = float(scanner) if spec.variant.value == "scanner" else side
    ratio = volume_ratio(properties, rng, variant=spec.variant, confounder=confounder, shift=shift)
    return properties, ratio, prescription


def sample_realistic(
    family: Family,
    spec: PhantomSpec,
    *,
    number: int,
    center_mm: Array64,
    volume_cc: float,
    rng: np.random.Generator,
    scanner: int,
) -> RealisticLesion:
    """Return one lesion of a family; the parameters are those of `draw`."""
    properties, ratio, prescription = draw(
        family, spec, rng=rng, volume_cc=volume_cc, center_mm=center_mm, scanner=scanner
    )
    lesion = lesion_of(family, properties, variant=spec.variant, name=f"GTV {number}", center_mm=center_mm, rng=rng)
    return replace(lesion, volume_ratio=ratio, prescription_gy=prescription)


def lesion_of(
    family: Family,
    properties: Properties,
    *,
    variant: Variant,
    name: str,
    center_mm: Array64,
    rng: np.random.Generator,
) -> RealisticLesion:
    """Return a lesion of given properties, with a shape and a mechanism from ``rng``; its volume does not change."""
    stretch, lobes, ruffles = sample_shape(rng, properties)
    return make_lesion(
        RealisticLesion(
            name, variant, properties, family.sample(rng, properties), center_mm, stretch, lobes, ruffles, 1.0
        )
    )
