"""Choose the ROIs that are treated targets: by type, otherwise by name and size.

A target type (GTV, CTV, PTV, TREATED_VOLUME) decides. Planning systems write ORGAN, CONTROL or no type by default, so
for these the name decides. Any other type excludes the ROI. Names are split into words at any separator and compared
with word lists in several languages.
"""

from __future__ import annotations

import re
from pathlib import Path

from RTResponseCAMLib.dicom.free_text import apart_at_capitals, folded
from RTResponseCAMLib.errors import GeometryError, StudyError
from RTResponseCAMLib.imaging.overlap import without_nested
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.study import Lesion, Structure
from RTResponseCAMLib.warnings import Warning, WarningCode

TARGET_KINDS = ("GTV", "CTV", "PTV", "TREATED_VOLUME")  # most specific first
UNSPECIFIC = frozenset({"ORGAN", "CONTROL"})
LARGEST_CC = 150.0  # a larger ROI without a target type is an organ or an outline, not a metastasis
LESION_WORD = re.compile(
    r"[gcp]tv\w*|mets?|metast\w*|metas|lesion\w*|laesion\w*|lasion\w*|tumou?r\w*|tumeur\w*|target\w*|tgt|zielvol\w*|enhanc\w*"
    r"|\w*adenom\w*|meningio\w*|meningeo\w*|schwannom\w*|neurino\w*|neuroma\w*|glio\w*|cavernom\w*|carcinom\w*|avm"
    r"|melanom\w*|chordom\w*|craniopharyng\w*|hemangio\w*|haemangio\w*|lymphom\w*|sarcom\w*"
)
ANATOMY = re.compile(
    r"skull|cranium|calvari\w*|body|external|outline|contour|umriss|surface|patient|head|brain\w*|brainstem|stem|skin"
    r"|scalp|cochlea\w*|chiasm\w*|optic\w*|eye\w*|globe|lens\w*|nerves?|hippo\w*|pituit\w*|hypophys\w*|normal|ventric\w*"
    r"|orbit\w*|retina|cornea|macula|lacrimal|canal|iac|csf|white|gr[ae]y|matter|parenchyma|cord|myelon|spinal|medull\w*"
    r"|mandib\w*|parotid\w*|parotis|submandib\w*|gland\w*|tongue|oral|larynx|trachea|thyroid|esophag\w*|oesophag\w*"
    r"|lungs?|heart|liver|breast\w*|kidney\w*|spleen|stomach|pancreas|bladder|rectum|bowel|colon|prostate|femur\w*|hips?"
    r"|bones?|vertebra\w*|muscle\w*|arter\w*|carotid\w*|aorta|veins?|vessels?|sinus\w*|frame|couch|table|mask|fiducial\w*"
    r"|kopf|schadel|haut|hirn|gehirn|hirnstamm|auge\w*|linse\w*|sehnerv\w*|leber|lunge\w*|herz|brust|niere\w*|knochen"
    r"|ruckenmark|speicheldruse|tete|crane|peau|cerveau|tronc|oeil|cristallin|foie|poumon\w*|coeur|sein|rein"
    r"|cabeza|craneo|piel|cerebro|encefalo|tronco|ojo\w*|cristalino|nervio\w*|higado|pulmon\w*|corazon|mama|rinon\w*"
    r"|testa|pelle|cervello|occhio|fegato|polmone|cuore|mammella|hersen\w*|huid|schedel|oog|ogen|ganzhirn|korper\w*"
    r"|encephale|corps|cuerpo|corpo|cabeca|hoofd|lichaam|mozg|glowa|мозг|голова|тело|大脑|大腦|頭部|头部|脳|뇌|hjerne|hjarna|huvud"
    r"|hode|aivot|beyin"
)
# Names of the whole head, brain or body: a ROI as small as a lesion may be a lesion in it ("Brain 3").
WHOLE = re.compile(
    r"body|external|patient|head|brain|kopf|hirn|gehirn|ganzhirn|korper\w*|tete|cerveau|encephale|corps|cabeza|cerebro|encefalo"
    r"|cuerpo|testa|cervello|corpo|cabeca|hersenen|hoofd|lichaam|mozg|glowa|мозг|голова|тело|大脑|大腦|頭部|头部|脳|뇌|hjerne|hjarna"
    r"|huvud|hode|aivot|beyin"
)
HELPER = re.compile(
    r"o?edema\w*|odem\w*|avoid\w*|isodose\w*|dose|registration|artifact|matrix|minus|without|prv|ring|shell|rind|helper|hilfs\w*"
    r"|opt\d*|dummy|couch|isodosis|isodosen\w*"
)
# An isodose is named by its dose: "12Gy", "50%", "V12Gy".
ISODOSE = re.compile(r"\W*v?\s*\d+(?:[.,]\d+)?\s*(?:c?gy|%)\W*", re.IGNORECASE)
MINUS = re.compile(r"(?:brain|hirn|cerveau|cerebro|body|head)\s*[-_]\s*[gcp]tv", re.IGNORECASE)


def choose_lesions(
    path: Path, structures: tuple[Structure, ...], *, wanted: tuple[str, ...] = ()
) -> tuple[tuple[Lesion, ...], tuple[Warning, ...]]:
    """Choose the ROIs that are treated targets: those named by the user, otherwise by type, otherwise by name and size.

    Raises
    ------
    StudyError : a ROI named by the user does not exist or has no contours, or no ROI is recognized as a target.
    """
    warnings: list[Warning] = []
    if wanted:
        by_name = {s.name: s for s in structures}
        missing = [name for name in wanted if name not in by_name]
        if missing:
            raise StudyError(
                path, f"has no ROI {', '.join(missing)}; it has {', '.join(sorted(by_name))}", "Correct --roi"
            )
        chosen = [by_name[name] for name in wanted]
        without_contours = [s.name for s in chosen if not s.contours]
        if without_contours:
            problem = f"ROI {', '.join(without_contours)} has no closed contour"
            raise StudyError(path, problem, "Contour the target and export it again")
    else:
        chosen = _chosen(structures, warnings)
        if not chosen:
            names = [f"{s.name} ({s.kind or 'no type'}, {len(s.contours)} contours)" for s in structures]
            raise StudyError(path, f"has no target with contours; its ROIs: {', '.join(names)}", "Name one with --roi")
        chosen_by_name = [s.name for s in chosen if s.kind not in TARGET_KINDS]
        if chosen_by_name:
            warnings.append(WarningCode.TARGET_BY_NAME(names=", ".join(chosen_by_name)))
    chosen.sort(key=lambda s: s.number)
    return tuple(Lesion(f"L{index}", s) for index, s in enumerate(chosen, start=1)), tuple(warnings)


def _chosen(structures: tuple[Structure, ...], warnings: list[Warning]) -> list[Structure]:
    candidates = []
    for structure in structures:
        is_target, decision = target_by_words(structure)
        if decision and structure.contours:
            warnings.append(WarningCode.NAME_AND_TYPE_DIFFER(name=structure.name, kind=structure.kind, used=decision))
        if not is_target:
            warnings += _in_the_whole(structure)
            continue
        if not structure.contours:
            warnings.append(WarningCode.EMPTY_ROI(what=f"target '{structure.name}' has no closed contour and"))
            continue
        candidates.append(structure)
    targets, nested = without_nested(tuple(candidates))
    too_large_cc = {
        s.number: volume_cc for s in targets if s.kind not in TARGET_KINDS and (volume_cc := _volume_cc(s)) > LARGEST_CC
    }
    if too_large_cc:  # a large ROI that is not a lesion must not exclude targets inside it
        targets, nested = without_nested(tuple(s for s in candidates if s.number not in too_large_cc))
    warnings += nested
    for structure in candidates:
        if structure.number in too_large_cc:
            values = {"name": structure.name, "volume": too_large_cc[structure.number], "limit": LARGEST_CC}
            warnings.append(WarningCode.TOO_LARGE(**values))
    return list(targets)


def _in_the_whole(structure: Structure) -> list[Warning]:
    """Warn about a ROI with only a name of the head, brain or body but the size of a lesion: it may be a lesion."""
    anatomy_words = [word for word in name_words(structure.name) if ANATOMY.fullmatch(word)]
    named_as_whole = (
        bool(anatomy_words) and all(WHOLE.fullmatch(word) for word in anatomy_words) and not is_helper(structure.name)
    )
    if not named_as_whole or structure.kind not in ("", *UNSPECIFIC) or not structure.contours:
        return []
    volume = _volume_cc(structure)
    return [WarningCode.SMALL_FOR_NAME(name=structure.name, volume=volume)] if 0 < volume <= LARGEST_CC else []


def target_by_words(structure: Structure) -> tuple[bool, str]:
    """Whether type and name make a ROI a target, and which of the two decides if they disagree (otherwise "")."""
    names_lesion, names_other = _names_lesion(structure.name), not names_a_target(structure.name)
    if structure.kind in TARGET_KINDS:
        return True, "the type decides: it is used as a target" if names_other else ""
    if structure.kind == "ORGAN":
        return names_lesion, "the name is more specific: it is used as a target" if names_lesion else ""
    if structure.kind in ("", "CONTROL"):
        return not names_other, ""
    return False, "the type is more specific: it is not a target" if names_lesion else ""


def looks_like_target(structure: Structure) -> bool:
    """Whether a ROI is a target by its type, or by its name if the type is not specific; see `target_by_words`."""
    return target_by_words(structure)[0]


def names_a_target(name: str) -> bool:
    """Whether a name may be that of a lesion: no helper structure, and no anatomy without a lesion word."""
    if is_helper(name):
        return False
    return _names_lesion(name) or not any(ANATOMY.fullmatch(word) for word in name_words(name))


def is_helper(name: str) -> bool:
    """Whether a name is that of a helper structure: avoidance, ring, isodose, edema; not an enhancing ring."""
    words = name_words(name)
    if any(word.startswith("enhanc") for word in words):
        words = [word for word in words if word != "ring"]
    return bool(MINUS.search(name) or ISODOSE.fullmatch(name)) or any(HELPER.fullmatch(word) for word in words)


def name_words(name: str) -> list[str]:
    """Words of a name: lower case, no accents; split at separators, at digits, and at capitals within words."""
    return re.findall(r"[^\W\d_]+", folded(apart_at_capitals(name)))


def _names_lesion(name: str) -> bool:
    return not is_helper(name) and any(LESION_WORD.fullmatch(word) for word in name_words(name))


def _volume_cc(structure: Structure) -> float:
    try:
        return contour_volume_cc(structure)
    except GeometryError:  # the warning is given where the volume is measured
        return 0.0
