"""Which objects belong together: RTDOSE → RTPLAN → RTSTRUCT → MR, and of several chains the T1c's.

GammaPlan exports one plan once per MR series; only the chain that ends at the contrast-enhanced T1 is what
the classifier has learned to read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from RTResponseCAMLib.dicom.index import Entry, Index, date_of
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.study import Caution, FollowUp


@dataclass(frozen=True)
class Chain:
    """The objects of one treatment that are used together."""

    images: tuple[Entry, ...]
    structures: Entry
    plan: Entry | None
    doses: tuple[Entry, ...]
    t1c_score: int
    cautions: tuple[Caution, ...] = field(default=())


def choose_chain(index: Index, series: str | None = None) -> Chain:
    """Follow the references and choose the chain that ends at the T1c series.

    Parameters
    ----------
    series : text that the Series Description must contain, or a Series Instance UID, to overrule the choice.

    Raises
    ------
    StudyError : no image series, no RTSTRUCT, only CT, or no RTSTRUCT that lies in the frame of reference of
        an image series.
    """
    if not index.series:
        raise StudyError(index.folder, "holds no MR series", "Export the planning MR (contrast-enhanced T1) as well")
    if not index.structures:
        raise StudyError(index.folder, "holds no RTSTRUCT", "Export the structure set with the targets as well")
    chains = [chain for structures in index.structures for chain in _chains_of(index, structures)]
    if series is not None:
        chains = [c for c in chains if series in (c.images[0].text("SeriesInstanceUID"),) or _described(c, series)]
    if not chains:
        raise _no_chain(index, series)
    chains.sort(key=lambda c: (c.t1c_score, len(c.doses) > 0, len(c.images)), reverse=True)
    best = chains[0]
    cautions = list(best.cautions)
    if best.images[0].modality != "MR":
        raise StudyError(
            best.structures.path,
            f"is drawn on a {best.images[0].modality} series; the classifier reads contrast-enhanced T1 MR",
            "Export the plan on its MR series",
        )
    if best.t1c_score < 3:
        name = best.images[0].text("SeriesDescription") or "without description"
        text = f"the planning series '{name}' cannot be recognised as a contrast-enhanced T1"
        cautions.append(Caution("not-t1c", text))
    rivals = {c.images[0].text("SeriesInstanceUID") for c in chains if c.t1c_score == best.t1c_score}
    if len(rivals) > 1:
        text = f"{len(rivals)} series could be the planning T1c; taken: '{best.images[0].text('SeriesDescription')}'"
        cautions.append(Caution("several-t1c", text + " (choose another with --series)"))
    others = [c for c in chains if c.images is best.images and c.structures is not best.structures]
    plans = _plans_of(index, best.structures)
    if others or len(plans) > 1:
        text = f"{len(others) + 1} structure set(s) and {len(plans)} plan(s) belong to the planning series; used: "
        names = [e.path.name for e in (best.structures, best.plan) if e is not None]
        cautions.append(Caution("several-plans", text + ", ".join(names) + " (keep one plan per folder)"))
    return Chain(best.images, best.structures, best.plan, best.doses, best.t1c_score, tuple(cautions))


def find_follow_ups(index: Index, chain: Chain) -> tuple[FollowUp, ...]:
    """T1c series of later days, earliest first; series of unknown date at the end."""
    planned = date_of(chain.images[0])
    found: list[FollowUp] = []
    for files in index.series.values():
        if files is chain.images or files[0].modality != "MR" or t1c_score(files[0]) < 3:
            continue
        date = date_of(files[0])
        days = None if date is None or planned is None else int((date - planned).astype(int))
        if days is None or days > 0:
            names = tuple(str(entry.path) for entry in files)
            found.append(FollowUp(files[0].text("SeriesDescription"), days, names))
    return tuple(sorted(found, key=lambda f: (f.days_after_plan is None, f.days_after_plan or 0)))


def t1c_score(entry: Entry) -> int:
    """How much a series looks like a contrast-enhanced T1: 3 and more is enough, negative speaks against it."""
    name = entry.text("SeriesDescription").lower()
    score = 3 * bool(entry.text("ContrastBolusAgent"))
    score += 2 * bool(re.search(r"t1|mprage|mp-rage|bravo|spgr|vibe|tfe", name))
    score += 2 * bool(re.search(r"\+\s?c\b|c\+|\bgad|\bgd\b|post|contrast|t1c|t1ce|\bce\b|\bkm\b", name))
    score -= 4 * bool(re.search(r"t2|flair|dwi|adc|ciss|fiesta|swi|perf|localizer|scout", name))
    return score - 6 * (entry.modality != "MR")


def referenced(entry: Entry, keyword: str) -> tuple[str, ...]:
    """SOP Instance UIDs that a sequence of references names."""
    items = entry.header.get(keyword) or ()
    return tuple(str(item.get("ReferencedSOPInstanceUID", "")) for item in items)


def referenced_series(structures: Entry) -> tuple[str, ...]:
    """Series Instance UIDs on which a structure set was drawn."""
    return tuple(
        str(series.get("SeriesInstanceUID", ""))
        for frame in structures.header.get("ReferencedFrameOfReferenceSequence") or ()
        for study in frame.get("RTReferencedStudySequence") or ()
        for series in study.get("RTReferencedSeriesSequence") or ()
    )


def frames_of(entry: Entry) -> set[str]:
    """Frames of reference that an object lies in."""
    frames = {
        str(item.get("FrameOfReferenceUID", ""))
        for item in entry.header.get("ReferencedFrameOfReferenceSequence") or ()
    }
    return (frames | {entry.text("FrameOfReferenceUID")}) - {""}


def _chains_of(index: Index, structures: Entry) -> list[Chain]:
    named = [uid for uid in referenced_series(structures) if uid in index.series]
    cautions: list[Caution] = []
    frames = frames_of(structures)
    if not named:
        named = [uid for uid, files in index.series.items() if frames & frames_of(files[0])]
        text = (
            "the series on which the structures were drawn is absent; a series of the same frame of reference is used"
        )
        cautions.append(Caution("series-by-frame", text))
    plan = _plan_of(index, structures)
    doses = _doses_of(index, structures, plan)
    if not doses:
        doses = tuple(d for d in index.doses if not _has_links(d) and frames & frames_of(d))
        if doses:
            text = "the RTDOSE names no plan or structure set; it is taken because its frame of reference fits"
            cautions.append(Caution("dose-by-frame", text))
    chains = []
    for uid in named:
        files = index.series[uid]
        own = frames_of(files[0])
        if frames and own and not frames & own:
            continue
        chains.append(Chain(files, structures, plan, doses, t1c_score(files[0]), tuple(cautions)))
    return chains


def _plan_of(index: Index, structures: Entry) -> Entry | None:
    plans = _plans_of(index, structures)
    return plans[0] if plans else None


def _plans_of(index: Index, structures: Entry) -> list[Entry]:
    return [p for p in index.plans if structures.uid in referenced(p, "ReferencedStructureSetSequence")]


def _doses_of(index: Index, structures: Entry, plan: Entry | None) -> tuple[Entry, ...]:
    return tuple(
        dose
        for dose in index.doses
        if (plan is not None and plan.uid in referenced(dose, "ReferencedRTPlanSequence"))
        or structures.uid in referenced(dose, "ReferencedStructureSetSequence")
    )


def _has_links(dose: Entry) -> bool:
    return bool(referenced(dose, "ReferencedRTPlanSequence") or referenced(dose, "ReferencedStructureSetSequence"))


def _described(chain: Chain, text: str) -> bool:
    return text.lower() in chain.images[0].text("SeriesDescription").lower()


def _no_chain(index: Index, series: str | None) -> StudyError:
    path = index.structures[0].path
    if series is not None:
        names = sorted({files[0].text("SeriesDescription") for files in index.series.values()})
        return StudyError(index.folder, f"no planning series matches '{series}'; there are {names}", "Correct --series")
    return StudyError(
        path,
        "lies in another frame of reference (0020,0052) than every image series of the folder",
        "Export structure set and MR from the same plan, or the registration between them",
    )
