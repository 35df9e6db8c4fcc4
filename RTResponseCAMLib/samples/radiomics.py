"""Standard radiomics of a lesion by pyradiomics: T1c (original, LoG, wavelet), dose ("dosiomics"), and their change.

One settings file defines all parameters; it is stored with the results. MR values are in head units, sampled on a 1 mm
lattice along the patient's axes, cropped to the lesion and the reach of the filters. The definitions are those of IBSI
as implemented in pyradiomics (its kurtosis is larger by 3).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.errors import GeometryError, RTResponseError
from RTResponseCAMLib.imaging.planes import stack_planes
from RTResponseCAMLib.imaging.resample import HeadIntensity
from RTResponseCAMLib.samples.lattice import lesion_lattice
from RTResponseCAMLib.study import Dose, Structure

SETTINGS = Path(__file__).with_name("radiomics.json")
BLOCKS = ("mr", "dose")
REACH_MM, PLAIN_REACH_MM = 12.0, 2.0  # reach of the widest filter (LoG, 3 mm), and of the original image
MIN_VOXELS = 8
MISSING = (
    "pyradiomics is not installed: in Slicer install the extension SlicerRadiomics; elsewhere run `make radiomics`"
)


def why_unavailable() -> str | None:
    """Reason why radiomics cannot be computed here; None when it can."""
    try:
        import radiomics  # noqa: F401
    except ImportError as error:
        return f"{MISSING} ({error})" if "radiomics" not in str(error) else MISSING
    return None


def version_found() -> str:
    """Version of pyradiomics; "none" where radiomics cannot be computed."""
    if why_unavailable() is not None:
        return "none"
    import radiomics

    return str(radiomics.__version__)


def read_settings(path: Path = SETTINGS) -> dict[str, Any]:
    """Settings of pyradiomics for MR and dose: blocks ``mr`` and ``dose``, each as pyradiomics reads them.

    Raises
    ------
    RTResponseError : the file does not exist or is not JSON, or a block is missing.
    """
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RTResponseError(path, f"cannot be read as settings ({error})", f"Start from {SETTINGS.name}") from error
    missing = [name for name in BLOCKS if not isinstance(settings, dict) or not isinstance(settings.get(name), dict)]
    if missing:
        raise RTResponseError(path, f"lacks the block(s) {', '.join(missing)}", f"Start from {SETTINGS.name}")
    return dict(settings)


def mr_features(
    image: sitk.Image, head: HeadIntensity, *, structure: Structure, settings: Mapping[str, Any]
) -> dict[str, float]:
    """Radiomics of the MR, ``mr_<filter>_<class>_<feature>``; lengths in mm, intensities in head units.

    Raises
    ------
    GeometryError : a lesion of fewer than 8 voxels of 1 mm³, without usable contours, or outside the image.
    RTResponseError : pyradiomics is not installed, or rejects the settings.
    """
    return _features(image, structure, settings["mr"], "mr", head.median, head.iqr, smooth=True)


def dose_features(dose: Dose, structure: Structure, *, settings: Mapping[str, Any]) -> dict[str, float]:
    """Radiomics of the dose in Gy (trilinear), ``dose_<filter>_<class>_<feature>``; raises as `mr_features`."""
    return _features(dose.image, structure, settings["dose"], "dose", 0.0, 1.0, smooth=False)


def change(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Later minus planning value, ``delta_<name>``, of the features that both have."""
    return {f"delta_{name}": after[name] - value for name, value in before.items() if name in after}


def _features(
    image: sitk.Image,
    structure: Structure,
    settings: Mapping[str, Any],
    prefix: str,
    zero: float,
    first: float,
    smooth: bool,
) -> dict[str, float]:
    filtered = set(settings.get("imageType", {})) != {"Original"}
    lattice = lesion_lattice(structure, stack_planes(structure), margin_mm=REACH_MM if filtered else PLAIN_REACH_MM)
    inside = lattice.share >= lattice.level
    if int(inside.sum()) < MIN_VOXELS:
        problem = f"fills {int(inside.sum())} voxels of 1 mm³, too few for radiomics"
        raise GeometryError(f"ROI '{structure.name}'", problem, "Leave it out, or use volume and gradient features")
    values = lattice.grid.image((lattice.sample(image, smooth) - zero) / first)
    features = extract(values, lattice.grid.image(inside.astype(np.uint8)), settings=settings)
    return {f"{prefix}_{name}": value for name, value in features.items()}


def extract(image: sitk.Image, mask: sitk.Image, *, settings: Mapping[str, Any]) -> dict[str, float]:
    """Features of one image under one mask (value 1) on the same grid, by pyradiomics.

    Raises
    ------
    RTResponseError : pyradiomics is not installed, or rejects image, mask or settings.
    """
    missing = why_unavailable()
    if missing:
        raise RTResponseError("radiomics", missing, "Install it, or compare the other approaches")
    try:
        features = _extractor(json.dumps(settings)).execute(image, mask)
    except Exception as error:  # pyradiomics and its validator of settings raise errors of any type
        raise RTResponseError(
            "radiomics", f"pyradiomics reports an error: {error}", "Check the settings file"
        ) from error
    return {name: float(value) for name, value in features.items() if not name.startswith("diagnostics")}


@lru_cache(maxsize=8)
def _extractor(settings: str) -> Any:
    """Extractor for settings (JSON); cached, because their validation takes longer than the features of a lesion."""
    from radiomics import featureextractor

    logging.getLogger("radiomics").setLevel(logging.ERROR)
    blocks = json.loads(settings)
    return featureextractor.RadiomicsFeatureExtractor({**blocks, "setting": {"label": 1, **blocks["setting"]}})
