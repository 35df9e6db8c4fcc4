"""Pre-training workflow: an encoder from lesions without labels, of cohorts or of phantoms."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from RTResponseCAMLib.errors import CohortError, ModelError
from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.models.bundle import choose_device
from RTResponseCAMLib.models.registry import entries
from RTResponseCAMLib.phantom.families import FAMILIES, family_of
from RTResponseCAMLib.phantom.scanner import SCANNERS
from RTResponseCAMLib.phantom.single import lesion_patch
from RTResponseCAMLib.processes import parallel_map
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.samples.sample import patch_of
from RTResponseCAMLib.workflow.output import RESEARCH_ONLY, check_free, new_folder
from RTResponseCAMLib.workflow.train import read_samples

MIN_LESIONS = 16
LARGEST = 48  # voxels along a side that are kept of a large lesion's patch
LESIONS_SHARE = 0.3  # fraction of the progress


def pretrain_encoder(
    cohorts: Sequence[Path],
    out: Path,
    *,
    synthetic: int = 0,
    fresh: bool = False,
    families: Sequence[str] = tuple(FAMILIES),
    settings: Mapping[str, Any] | None = None,
    synthetic_seed: int = 9100,
    workers: int = 1,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Pre-train an encoder on all lesions of cohorts and on synthetic ones; labels are not read.

    The state after each epoch is kept in a folder beside ``out``; the same call goes on from it, and removes it at the
    end.

    Parameters
    ----------
    synthetic : number of lesions of the phantom's families and scanners.
    fresh : sample other synthetic lesions for every epoch: none is ever seen twice.
    settings : "epochs", "learning_rate", "channels" and "seed", where they are not the defaults.
    synthetic_seed : seed of the synthetic lesions; phantoms of other seeds share no lesion with them.

    Returns
    -------
    "lesions", "losses" (mean of each epoch), and "encoder" (file name of the result).

    Raises
    ------
    CohortError : see `read_samples`; fewer than `MIN_LESIONS` lesions.
    ModelError : the loss became NaN; there is a state of other settings.
    RTResponseError : no such family.
    """
    entry, pretrain = next((entry, entry.pretrain) for entry in entries() if entry.pretrain is not None)
    chosen_device = choose_device(device)
    check_free(out, overwrite)
    for family in families:
        if family_of(family) is None:
            raise ModelError("--families", f"'{family}' has no lesions without a study", "Leave it out")
    begin = 0.05 if fresh else LESIONS_SHARE  # where the epochs begin
    reading = subprogress(progress, 0.0, begin)
    real: list[Patch] = []
    for number, cohort in enumerate(cohorts):
        part = subprogress(reading, number / (len(cohorts) + 1), (number + 1) / (len(cohorts) + 1))
        lesions, _ = read_samples(cohort, entry, progress=part)
        real += [cropped(patch_of(lesion.sample)) for lesion in lesions]
    count = len(real) + synthetic
    if count < MIN_LESIONS:
        problem = f"are {count} lesions, expected at least {MIN_LESIONS}"
        raise CohortError("the lesions of the pre-training", problem, "Add a cohort, or give --synthetic")
    sample = partial(_synthetic, count=synthetic, seed=synthetic_seed, families=tuple(families), workers=workers)
    last = subprogress(reading, len(cohorts) / (len(cohorts) + 1), 1.0)
    fixed = [] if fresh else sample(0, progress=last)

    def lesions_of(epoch: int, progress: Progress) -> Sequence[Patch]:
        return [*real, *(sample(epoch, progress=progress) if fresh else fixed)]

    card = {
        "name": out.name,
        "intended_use": RESEARCH_ONLY,
        "lesions": count,
        "sources": {
            "cohorts": len(cohorts),
            "cohort_lesions": len(real),
            "synthetic_lesions": synthetic,
            "fresh_for_every_epoch": fresh,
            **({"families": list(families), "scanners": sorted(SCANNERS), "seed": synthetic_seed} if synthetic else {}),
        },
        "command": _command(len(cohorts), synthetic, fresh, families, settings or {}, synthetic_seed),
    }
    state = state_folder(out)
    origin = json.dumps([card["sources"], _digest(real)], sort_keys=True)
    losses, save = pretrain(
        lesions_of, settings or {}, state=state, origin=origin, card=card, device=chosen_device,
        progress=subprogress(progress, begin, 1.0),
    )  # fmt: skip
    with new_folder(out, overwrite) as folder:
        save(folder)
    shutil.rmtree(state, ignore_errors=True)
    return {"lesions": count, "losses": [round(loss, 5) for loss in losses], "encoder": out.name}


def state_folder(out: Path) -> Path:
    """Folder beside ``out`` in which the state of an unfinished pre-training is kept."""
    return out.with_name(f"{out.name}.unfinished")


def cropped(patch: Patch) -> Patch:
    """The middle of a large patch: no more is seen of it at once, and thousands must fit into memory."""
    size = patch.mr.shape[0]
    if size <= LARGEST:
        return patch
    start = (size - LARGEST) // 2
    box = (slice(start, start + LARGEST),) * 3
    fraction = patch.fraction[box]
    if not fraction.any():  # a lesion that surrounds something else
        return patch
    mr, dose, fraction = (np.ascontiguousarray(a[box]) for a in (patch.mr, patch.dose, patch.fraction))
    grid = patch.grid.crop((start,) * 3, (LARGEST,) * 3)
    return replace(patch, grid=grid, mr=mr, dose=dose, fraction=fraction)


def _synthetic(
    epoch: int, *, count: int, seed: int, families: tuple[str, ...], workers: int, progress: Progress
) -> list[Patch]:
    numbers = range(epoch * count, (epoch + 1) * count)
    patches = []
    with closing(parallel_map(partial(_one, seed, families), numbers, workers=workers)) as made:
        for done, patch in enumerate(made, start=1):
            patches.append(patch)
            progress(done / count, f"synthetic lesion {done} of {count}")
    return patches


def _digest(patches: Sequence[Patch]) -> str:
    """SHA-256 of the lesions of cohorts: an interrupted pre-training goes on with the same ones only."""
    digest = hashlib.sha256()
    for patch in patches:
        digest.update(patch.mr.tobytes() + patch.fraction.tobytes())
    return digest.hexdigest()


def _one(seed: int, families: tuple[str, ...], number: int) -> Patch:
    return cropped(lesion_patch(seed, number, families=families))


def _command(
    cohorts: int, synthetic: int, fresh: bool, families: Sequence[str], settings: Mapping[str, Any], seed: int
) -> str:
    """Command line without paths: a folder name may contain a person's name, and cards are shared."""
    words = ["rtresponsecam", "pretrain", *["COHORT"] * cohorts, "--out", "ENCODER"]
    if synthetic:
        words += ["--synthetic", str(synthetic), "--synthetic-seed", str(seed), "--families", ",".join(families)]
    words += ["--fresh"] if fresh else []
    for name, value in settings.items():
        text = ",".join(str(v) for v in value) if isinstance(value, (list, tuple)) else str(value)
        words += [f"--{name.replace('_', '-')}", text]
    return " ".join(words)
