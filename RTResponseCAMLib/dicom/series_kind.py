"""Classify an MR series: contrast-enhanced T1, something else or unsure; acquired or computed from other series.

Attributes (contrast agent, Image Type, echo time) take precedence over the words of Series Description. The word lists
cover several languages and the naming habits of scanners and research groups. Descriptions are split into words at any
separator: ``T1_PRE_CONTRAST``.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from pydicom.dataset import Dataset

from RTResponseCAMLib.dicom.free_text import apart_at_capitals, folded
from RTResponseCAMLib.dicom.index import Entry

T1C = 3  # minimum score of a contrast-enhanced T1
LONG_ECHO_MS = 60.0  # above it a spin or gradient echo is not T1-weighted
# Values of the agent attribute that mean "no agent"; one of these words makes the statement negative.
NO_AGENT = {"none", "nil", "n", "na", "0", "nein", "nicht", "kein", "keine", "keines", "false", "aucun", "ninguno"}

# Words of Series Description, lower case, without accents.
AGENT = re.compile(
    r"contrast\w*|kontrast\w*|contraste\w*|kontra\w*|gad|gado\w*|gd|gad[ao]v\w*|dotarem|magnevist|prohance|multihance"
    r"|omniscan|clariscan|elucirem|vueway|dtpa|km|mdc|mezzo|ce|cem|cet1w?|inj\w*|iniezione|injektion|enhanced|enhancement"
    r"|контраст\w*|ку|\w*(?:造影|增强|增強|조영)\w*"
)
WITHOUT = {
    "no", "non", "not", "without", "wo", "w/o", "ohne", "sans", "sin", "senza", "sem", "zonder", "utan", "uten", "uden",
    "bez", "без", "ilman", "w/out", "wout", "minus", "o", "un", "kein", "keine", "nelkul", "pre", "before", "prior",
    "avant", "antes", "prima", "vor", "voor", "innan", "до", "przed", "pred", "fore", "før", "elott", "oncesi", "prije",
    "fara",
}  # fmt: skip
NATIVE = re.compile(
    r"nativ[aeot]?|nativt|natif|plain|basale?|blanc|unenhanced|(?:non|pre)contrast|нативн(?:ая|ый)|単純|单纯"
    r"|\w*(?:非造影|平扫|平掃|비조영)\w*"
)
# Words with the same meaning that follow the word for the agent.
BEHIND = {
    "minus", "free", "frei", "less", "none", "no", "neg", "negative", "nelkul", "nashi", "前", "なし", "无", "無", "전",
    "없음",
}  # fmt: skip
FILLERS = {
    "i", "iv", "v", "the", "any", "de", "del", "do", "da", "di", "du", "of", "to", "a", "al", "la", "le", "l", "d",
    "agent", "bolus", "medium", "mezzo",
}  # fmt: skip
NO_AGENTS = {("enhanced", "resolution"), ("enhanced", "gradient"), ("ce", "mark")}
AGENTS = r"(gd|gad|gado|km|cm|ce|contrast|kontrast|contraste)"
# Replacements of abbreviations and of words written without a space; applied in this order.
SHORTHAND = tuple((re.compile(pattern), plainly) for pattern, plainly in (
    (r"(?<![a-z])w\s?/\s?o(?:ut)?(?![a-z])|(?<![a-z])s\s?/(?=\s?contr)|\(-\)", " without "),
    (r"(?<![a-z])s\s?/\s?c(?![a-z])|(?<![a-z0-9])c-(?![a-z0-9])|(?:^|[\s_])-c(?![a-z0-9])", " without contrast "),
    (r"(?<![a-z.])(?<!i )v ?km(?![a-z])", " without contrast "),  # "vor Kontrastmittel", and not "i.v. KM"
    (r"\+\s?_?c(?![a-z])|(?<![a-z])c\s?\+|(?<![a-z])c\s?/\s?c(?![a-z])", " plus contrast "),
    (r"\+", " plus "),
    (r"т(?=[12])", "t"),  # Cyrillic
    (rf"(?:^|(?<=\s))-{AGENTS}(?![a-z0-9])|(?<![a-z]){AGENTS}-(?=\s|$)", r" without \1\2 "),
    (r"(kontrast|contrast)(?:siz|sız|los|frei|free|less)(?![a-z])", r" without \1 "),
    (r"造影\s?(?:なし|前)|增强\s?前|増強\s?前|조영\s?전", " without contrast "),
    (r"(?<=[a-z0-9])(?=[一-鿿가-힣])|(?<=[一-鿿가-힣])(?=[a-z0-9])", " "),
))  # fmt: skip
# Words that may follow "post" in the sense of "post contrast"; after any other word, "post" refers to another event.
BESIDE_POST = re.compile(
    r"ax\w*|sag\w*|cor\w*|tra\w*|obl\w*|[23]d|fs|fat\w*|iso\w*|sub\w*|se|tse|fse|gre|dyn\w*|late|delay\w*|plus|minus|pre"
    r"|spc|space|cube|mpr\w*|t1\w*|vibe|bravo|f?spgr|tfe|flash|and|run\d*|\d+mm|hr|hires"
)
TIME = re.compile(r"\d+(?:d|w|mo?|mth|months?|weeks?|days?|y|yr|years?)")
T1 = re.compile(
    r"t1\w*|mprage|mpr|mp2rage|rage|bravo|f?spgr|vibe|[ft]fe|flash|fl3d|fl2d|lava|thrive|tfl3d|tfl|t1ffe|irspgr|quick3d"
)
NOT_T1 = re.compile(
    r"t2\w*|dwi|ep2d\w*|diff|diffusion|adc|ciss|fiesta|swi|swan|perf\w*|pwi|dsc|dce|asl|loc|locali[sz]er|scout|survey|dti"
    r"|trace\w*|tof|mra|mrv|angio|bold|fmri|csi|spectr\w*|b0|b1000|stir|pd|pdw|drive|cbf|cbv|mtt|tmax|fa|topogram|calib\w*|asset"
)
COMPUTED = {
    "sub": "a subtraction", "subtraction": "a subtraction", "subtracted": "a subtraction", "subtr": "a subtraction",
    "subtraktion": "a subtraction", "soustraction": "a subtraction", "sustraccion": "a subtraction",
    "sottrazione": "a subtraction", "diff": "a difference", "difference": "a difference",
    "mip": "a projection", "minip": "a projection", "projection image": "a projection", "maximum": "a projection",
    "average": "an average", "adc": "a computed map", "mosaic": "a mosaic", "localizer": "a localizer",
    "localiser": "a localizer", "scout": "a localizer", "screen save": "a screen copy", "csa report": "a report",
    "perfusion": "a computed map", "cbf": "a computed map", "cbv": "a computed map", "ttp": "a computed map",
    "t1 map": "a computed map", "t2 map": "a computed map", "fusion": "a fusion",
    "fused": "a fusion", "differenz": "a difference", "volume rendering": "a rendering",
    "vxtl state": "a rendering", "capture": "a screen copy", "segmentation": "a segmentation",
    "p": "a phase image", "phase": "a phase image",
    "phase map": "a phase image", "fat": "a fat image", "fat only": "a fat image", "f": "a fat image",
    "mtt": "a computed map", "ktrans": "a computed map", "wash in": "a computed map", "washin": "a computed map",
    "wash out": "a computed map", "washout": "a computed map", "relcbv": "a computed map", "color": "a color map",
}  # fmt: skip


class Contrast(Enum):
    """Whether contrast agent was given, according to the header."""

    YES = "yes"
    NO = "no"
    UNSURE = "unsure"


@dataclass(frozen=True)
class SeriesKind:
    """Classification of a series.

    Attributes
    ----------
    contrast : see `Contrast`.
    why : reason when ``contrast`` is unsure, otherwise "".
    t1 : it is a T1-weighted scan; None when the weighting is unknown.
    computed : kind of computed image ("a subtraction"), "" for an acquired scan.
    reformatted : it is a multiplanar reformat of a scan.
    score : evidence for a contrast-enhanced T1: `T1C` or more is sufficient, a negative score is evidence against it.
    """

    contrast: Contrast
    why: str
    t1: bool | None
    computed: str
    reformatted: bool
    score: int

    @property
    def is_t1c(self) -> bool:
        """Whether it is a contrast-enhanced T1 according to header and name."""
        return self.score >= T1C

    @property
    def uncertainty(self) -> str:
        """Why a possible contrast-enhanced T1 is not classified as one; "" when the classification is clear."""
        if self.is_t1c or self.computed or self.t1 is False or self.contrast is Contrast.NO:
            return ""
        return self.why or "neither attributes nor description state that it is a T1"


def series_kind(entry: Entry) -> SeriesKind:
    """Classify a series from the header of one of its files."""
    words = words_of(entry.text("SeriesDescription"))
    stated = _stated_agent(entry)
    described, contradictory = _named_agent(words, entry.text("SeriesDescription"))
    contrast, why = _combined(stated, described, contradictory)
    t1 = _weighting(entry, words)
    computed, reformatted = _computed(entry, words)
    score = 3 * (stated is True) + 2 * (t1 is True) + 2 * (described is True) - 4 * (t1 is False)
    if contrast is Contrast.NO or computed or entry.modality != "MR":
        score = -6
    elif contrast is Contrast.UNSURE:
        score = min(score, 2)
    return SeriesKind(contrast, why, t1, computed, reformatted, score)


def t1c_score(entry: Entry) -> int:
    """Score of a series as a contrast-enhanced T1, see `SeriesKind`."""
    return series_kind(entry).score


def named_otherwise(name: str) -> bool:
    """Whether the name of a volume excludes a contrast-enhanced T1: another weighting, no contrast, or computed."""
    header = Dataset()
    header.Modality, header.SeriesDescription = "MR", name
    kind = series_kind(Entry(Path(), header))
    return kind.t1 is False or kind.contrast is Contrast.NO or bool(kind.computed)


def words_of(text: str) -> list[str]:
    """Words of a description: lower case, no accents; split at separators, at capitals within words, and after T1."""
    plain = folded(apart_at_capitals(re.sub(r"(?i)min_?ip(?![a-z])", "minip", text)))
    for pattern, plainly in SHORTHAND:
        plain = pattern.sub(plainly, plain)
    return [part for word in re.findall(r"[^\W_]+", plain) for part in _parts(word)]


def _parts(word: str) -> list[str]:
    """Split words that are written together (t1ce, postgd, noncontrast, gdt1); any other word is returned alone."""
    front = re.fullmatch(
        r"(t[12]w?i?)(c|ce|gd|gad\w*|km|post\w*|pre\w*|kontrast\w*|contrast\w*|mpr\w*|se|tse|fse|space)", word
    )
    if front:
        head, tail = front.groups()
        return [head, *(["contrast"] if tail == "c" else _parts(tail))]
    back = re.fullmatch(r"(gd|ce|km|gad|gado)(t1w?)", word)
    if back:
        return list(back.groups())
    if NATIVE.fullmatch(word):
        return [word]
    before = "pre|post|non|no|un|o|ohne|sans|sin|without|with|mit|avec"
    pair = re.fullmatch(rf"({before})(contrast\w*|kontrast\w*|gad\w*|gd|ce|km|enhanced)", word)
    return list(pair.groups()) if pair else [word]


def _stated_agent(entry: Entry) -> bool | None:
    """Contrast agent according to the contrast attributes: True, False ("NONE"), or None (absent, empty or unclear)."""
    agent = entry.text("ContrastBolusAgent")
    if agent:
        words = words_of(agent)
        described, contradictory = _named_agent(words, agent)
        negative = bool(set(words) & (WITHOUT | NO_AGENT)) or not words
        return None if contradictory or (described and negative) else bool(described) or not negative
    if entry.header.get("ContrastBolusAgentSequence"):
        return True
    try:
        return True if float(entry.text("ContrastBolusVolume") or 0) > 0 else None
    except ValueError:
        return None


def _named_agent(words: list[str], text: str) -> tuple[bool | None, bool]:
    """Contrast agent according to a description (None: not mentioned, or contradictory), and whether it contradicts."""
    positive = negative = False
    for index, word in enumerate(words):
        previous_words = [w for w in words[max(index - 3, 0) : index] if w not in FILLERS]
        next_word = words[index + 1] if index + 1 < len(words) else ""
        if NATIVE.fullmatch(word):
            negative = True
        elif (word, next_word) in NO_AGENTS:
            continue
        elif AGENT.fullmatch(word):
            negated = (
                (bool(previous_words) and previous_words[-1] in WITHOUT)
                or next_word in BEHIND
                or word.endswith(tuple("前無无전"))
            )
            negative, positive = negative or negated, positive or not negated
        elif word == "c" and previous_words and previous_words[-1] in ("pre", "post", "plus", "with", "w"):
            negative, positive = negative or previous_words[-1] == "pre", positive or previous_words[-1] != "pre"
        elif word == "post":
            timed = bool(previous_words) and TIME.fullmatch(previous_words[-1])
            positive = positive or not (timed or (next_word and not BESIDE_POST.fullmatch(next_word)))
        elif word in ("without", "wo", "ohne", "sans", "sin") and not next_word:
            negative = True
        elif word == "pre" and not next_word:
            negative = negative or not positive  # "T1 +C pre": acquired before treatment
    content_words = [w for w in words if w not in ("and", "und", "et", "y", "e")]
    if {("pre", "post"), ("post", "pre")} & set(itertools.pairwise(content_words)):
        return None, True
    if "w/wo" in text.casefold().replace(" ", "") or {"with", "without"} <= set(words):
        return None, True
    return (None, True) if positive and negative else (positive or (False if negative else None), False)


def _combined(stated: bool | None, named: bool | None, beside: bool) -> tuple[Contrast, str]:
    """Combine attributes and description: contrast, and the reason when it is unsure.

    Parameters
    ----------
    stated : contrast agent according to the attributes; takes precedence.
    named : contrast agent according to the description; a contradiction to ``stated`` makes the result unsure.
    beside : the description contradicts itself.
    """
    if stated is not None and named is not None and stated is not named:
        agent_text, described = ("an agent", "without") if stated else ("none", "with")
        why = f"Contrast/Bolus Agent (0018,0010) names {agent_text} but the series description contains '{described}'"
        return Contrast.UNSURE, why
    agent_given = named if stated is None else stated
    if agent_given is None and beside:
        return Contrast.UNSURE, "its description mentions both with and without contrast agent"
    if agent_given is None:
        return Contrast.UNSURE, "neither attributes nor description state whether contrast agent was given (0018,0010)"
    return (Contrast.YES if agent_given else Contrast.NO), ""


def _weighting(entry: Entry, words: list[str]) -> bool | None:
    """Whether it is T1-weighted; None when neither words nor echo time decide."""
    t1 = any(T1.fullmatch(word) for word in words)
    other = any(NOT_T1.fullmatch(word) for word in words)
    if "flair" in words and not any(word.startswith("t1") for word in words):
        other = True
    if other:
        return False
    try:
        if float(entry.text("EchoTime") or 0) >= LONG_ECHO_MS:
            return False
    except ValueError:
        pass
    return True if t1 else None


def _computed(entry: Entry, words: list[str]) -> tuple[str, bool]:
    """Kind of computed image ("" for a scan or its reformat), and whether the series is a reformat."""
    value = entry.header.get("ImageType")
    image_types = [str(v).strip().casefold().replace("_", " ") for v in (value if value is not None else ())]
    if isinstance(value, str):
        image_types = [value.casefold()]
    for image_type in image_types:
        if COMPUTED.get(image_type):
            return COMPUTED[image_type], False
    derived = "derived" in image_types
    for word, next_word in itertools.pairwise([*words, ""]):
        if (word in ("t1", "t2") and next_word in ("map", "mapping")) or word in ("t1map", "t2map"):
            return "a computed map", False
        if word in ("fused", "fusion", "segmentation", "difference", "differenz"):
            return COMPUTED[word], False
        if word in ("post", "pre") and (next_word == "minus" or (derived and next_word in ("post", "pre"))):
            return "a subtraction", False
        is_named_computed = word in ("mip", "minip") or word.startswith(("subt", "subst", "soustr", "sustr", "sottr"))
        if is_named_computed or (word == "sub" and not next_word.isdigit()):  # in BIDS names, sub-01 is a subject
            return COMPUTED.get(word, "a subtraction"), False
    return "", derived and bool({"mpr", "reformatted"} & {*image_types, *words})
