"""What a folder holds, what of it is used, and why not the rest: the answer of ``rtresponsecam inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from RTResponseCAMLib.dicom.chain import choose_chain, find_follow_ups, t1c_score
from RTResponseCAMLib.dicom.files import pseudonym
from RTResponseCAMLib.dicom.index import index_folder
from RTResponseCAMLib.dicom.rtstruct import choose_lesions, read_structures
from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.progress import Progress, silent
from RTResponseCAMLib.study import Structure


def inspect_folder(folder: Path, series: str | None = None, progress: Progress = silent) -> dict[str, Any]:
    """Describe a folder in plain values; problems are part of the answer, under ``problem``.

    Raises
    ------
    StudyError : the folder does not exist or holds no DICOM object.
    """
    index = index_folder(folder, progress)
    found: dict[str, Any] = {
        "series": [
            {
                "uid_hash": pseudonym(uid),
                "modality": files[0].modality,
                "description": files[0].text("SeriesDescription"),
                "files": len(files),
                "t1c_score": t1c_score(files[0]),
                "used": False,
            }
            for uid, files in index.series.items()
        ],
        "structure_sets": [{"file": e.path.name, "used": False} for e in index.structures],
        "plans": [{"file": e.path.name, "used": False} for e in index.plans],
        "doses": [{"file": e.path.name, "units": e.text("DoseUnits"), "used": False} for e in index.doses],
        "other_modalities": index.others,
        "cautions": [c.text for c in index.cautions],
        "problem": None,
    }
    try:
        chain = choose_chain(index, series)
    except RTResponseError as error:
        found["problem"] = str(error)
        return found
    used = {chain.images[0].text("SeriesInstanceUID")}
    for item, uid in zip(found["series"], index.series, strict=True):
        item["used"] = uid in used
    for key, entries, chosen in (
        ("structure_sets", index.structures, (chain.structures,)),
        ("plans", index.plans, (chain.plan,)),
        ("doses", index.doses, chain.doses),
    ):
        for item, entry in zip(found[key], entries, strict=True):
            item["used"] = any(entry is c for c in chosen)
    found["cautions"] += [c.text for c in chain.cautions]
    found["follow_ups"] = [
        {"description": f.description, "days_after_plan": f.days_after_plan, "files": len(f.files)}
        for f in find_follow_ups(index, chain)
    ]
    _add_structures(found, chain.structures.path)
    return found


def _add_structures(found: dict[str, Any], path: Path) -> None:
    try:
        structures, cautions = read_structures(path)
        found["cautions"] += [c.text for c in cautions]
        found["rois"] = [_roi(structure) for structure in structures]
        lesions, cautions = choose_lesions(path, structures)
        found["cautions"] += [c.text for c in cautions]
        names = {lesion.structure.name: lesion.id for lesion in lesions}
        for roi in found["rois"]:
            roi["lesion"] = names.get(roi["name"])
    except RTResponseError as error:
        found["problem"] = str(error)


def _roi(structure: Structure) -> dict[str, Any]:
    volume, remark = None, None
    if structure.contours:
        try:
            volume = round(contour_volume_cc(structure), 4)
        except RTResponseError as error:
            remark = str(error)
    return {
        "number": structure.number,
        "name": structure.name,
        "type": structure.kind,
        "contours": len(structure.contours),
        "volume_cc": volume,
        "remark": remark,
        "lesion": None,
    }


def as_text(found: dict[str, Any]) -> str:
    """The description as a tree for people."""
    lines = []
    for item in found["series"]:
        mark = "*" if item["used"] else " "
        name = item["description"] or "without description"
        lines.append(f"{mark} {item['modality']} '{name}', {item['files']} files, T1c score {item['t1c_score']}")
    for key, title in (("structure_sets", "RTSTRUCT"), ("plans", "RTPLAN"), ("doses", "RTDOSE")):
        lines += [f"{'*' if item['used'] else ' '} {title} {item['file']}" for item in found[key]]
    for roi in found.get("rois", ()):
        volume = "no volume" if roi["volume_cc"] is None else f"{roi['volume_cc']:.3f} cm³"
        role = f"  → {roi['lesion']}" if roi["lesion"] else ""
        kind = roi["type"] or "no type"
        lines.append(f"    ROI {roi['number']} '{roi['name']}' ({kind}), {roi['contours']} contours, {volume}{role}")
    for item in found.get("follow_ups", ()):
        when = "unknown date" if item["days_after_plan"] is None else f"{item['days_after_plan']} days later"
        lines.append(f"  follow-up '{item['description']}', {when}")
    lines += [f"  left out: {count} × {name}" for name, count in found["other_modalities"].items()]
    lines += [f"! {text}" for text in found["cautions"]]
    if found["problem"]:
        lines.append(f"PROBLEM {found['problem']}")
    return "\n".join([*lines, "", "* is used for prediction"])
