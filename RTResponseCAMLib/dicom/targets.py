"""Which ROIs are treated targets: by type, else by name and size.

A target's type (GTV, CTV, PTV, TREATED_VOLUME) counts. ORGAN, CONTROL and an absent type are what planning systems
write unasked: there the name decides, and is the more specific of the two. Every other type says that it is no target.
Names are compared as words, whatever stands between them, in the languages that planning systems are used in.
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

TARGET_KINDS = ("GTV", "CTV", "PTV", "TREATED_VOLUME")  # the more specific first
UNSPECIFIC = frozenset({"ORGAN", "CONTROL"})
LARGEST_CC = 150.0  # without a target's type, what is larger is an organ or an outline: no metastasis is
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
# Of all of the head or more: what is as small as a lesion is none of it, though it may be in it ("Brain 3").
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
    """Take the ROIs that are treated targets: those named by the user, else by type, else by name and size.

    Raises
    ------
    StudyError : a wanted ROI does not exist or has no contours, or nothing looks like a target.
    """
    warnings: list[Warning] = []
    if wanted:
        by_name = {s.name: s for s in structures}
        missing = [name for name in wanted if name not in by_name]
        if missing:
            raise StudyError(path, f"has no ROI {missing}; it has {sorted(by_name)}", "Correct --roi")
        chosen = [by_name[name] for name in wanted]
        empty = [s.name for s in chosen if not s.contours]
        if empty:
            raise StudyError(path, f"ROI {empty} has no closed contour", "Contour the target and export it again")
    else:
        chosen = _chosen(structures, warnings)
        if not chosen:
            names = [f"{s.name} ({s.kind or 'no type'}, {len(s.contours)} contours)" for s in structures]
            raise StudyError(path, f"has no target with contours; its ROIs: {', '.join(names)}", "Name one with --roi")
        by_words = [s.name for s in chosen if s.kind not in TARGET_KINDS]
        if by_words:
            warnings.append(WarningCode.TARGET_BY_NAME(names=", ".join(by_words)))
    chosen.sort(key=lambda s: s.number)
    return tuple(Lesion(f"L{n}", s) for n, s in enumerate(chosen, start=1)), tuple(warnings)


def _chosen(structures: tuple[Structure, ...], warnings: list[Warning]) -> list[Structure]:
    found = []
    for structure in structures:
        taken, used = target_by_words(structure)
        if used and structure.contours:
            warnings.append(WarningCode.NAME_AND_TYPE_DIFFER(name=structure.name, kind=structure.kind, used=used))
        if not taken:
            warnings += _in_the_whole(structure)
            continue
        if not structure.contours:
            warnings.append(WarningCode.EMPTY_ROI(what=f"target '{structure.name}' has no closed contour and"))
            continue
        found.append(structure)
    kept, nested = without_nested(tuple(found))
    large = {s.number: v for s in kept if s.kind not in TARGET_KINDS and (v := _volume_cc(s)) > LARGEST_CC}
    if large:  # what is no lesion is no reason to leave out what lies in it
        kept, nested = without_nested(tuple(s for s in found if s.number not in large))
    warnings += nested
    for structure in found:
        if structure.number in large:
            values = {"name": structure.name, "volume": large[structure.number], "limit": LARGEST_CC}
            warnings.append(WarningCode.TOO_LARGE(**values))
    return list(kept)


def _in_the_whole(structure: Structure) -> list[Warning]:
    """Name a ROI that is named as the head, and nothing else, and is too small for it: it may be a lesion in it."""
    anatomy = [word for word in name_words(structure.name) if ANATOMY.fullmatch(word)]
    whole = bool(anatomy) and all(WHOLE.fullmatch(word) for word in anatomy) and not is_helper(structure.name)
    if not whole or structure.kind not in ("", *UNSPECIFIC) or not structure.contours:
        return []
    volume = _volume_cc(structure)
    return [WarningCode.SMALL_FOR_NAME(name=structure.name, volume=volume)] if 0 < volume <= LARGEST_CC else []


def target_by_words(structure: Structure) -> tuple[bool, str]:
    """Whether type and name make a target, and which of the two counts where they disagree ("" where they do not)."""
    names_lesion, names_other = _names_lesion(structure.name), not names_a_target(structure.name)
    if structure.kind in TARGET_KINDS:
        return True, "the type counts: it is taken for a target" if names_other else ""
    if structure.kind == "ORGAN":
        return names_lesion, "the name is more specific: it is taken for a target" if names_lesion else ""
    if structure.kind in ("", "CONTROL"):
        return not names_other, ""
    return False, "the type is more specific: it is no target" if names_lesion else ""


def looks_like_target(structure: Structure) -> bool:
    """By its type; without a specific one by its name, see `target_by_words`."""
    return target_by_words(structure)[0]


def names_a_target(name: str) -> bool:
    """Whether a name may be a lesion's: not a planner's helper, and no anatomy unless it also says lesion."""
    if is_helper(name):
        return False
    return _names_lesion(name) or not any(ANATOMY.fullmatch(word) for word in name_words(name))


def is_helper(name: str) -> bool:
    """Whether a name is that of a planner's aid: avoidance, ring, isodose, oedema; a ring that enhances is none."""
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
    except GeometryError:  # whoever measures it warns
        return 0.0
