"""Pre-training workflow: an encoder from lesions without labels, of cohorts or of phantoms."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
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
    entry = next(entry for entry in entries() if entry.pretrain is not None)
    pretrain = entry.pretrain
    if pretrain is None:
        raise ModelError("pretrain", "no registered model can be pre-trained", "Reinstall")
    chosen_device = choose_device(device)
    check_free(out, overwrite)
    for family in families:
        if family_of(family) is None:
            raise ModelError("--families", f"'{family}' has no lesions without a study", "Leave it out")
    first = subprogress(progress, 0.0, LESIONS_SHARE if not fresh else 0.05)
    real: list[Patch] = []
    for number, cohort in enumerate(cohorts):
        part = subprogress(first, number / (len(cohorts) + 1), (number + 1) / (len(cohorts) + 1))
        lesions, _ = read_samples(cohort, entry, progress=part)
        real += [cropped(patch_of(lesion.sample)) for lesion in lesions]
    count = len(real) + synthetic
    if count < MIN_LESIONS:
        problem = f"are {count} lesions, expected at least {MIN_LESIONS}"
        raise CohortError("the lesions of the pre-training", problem, "Add a cohort, or give --synthetic")
    make = partial(_synthetic, count=synthetic, seed=synthetic_seed, families=tuple(families), workers=workers)
    drawn = subprogress(first, len(cohorts) / (len(cohorts) + 1), 1.0)
    fixed = [] if fresh else make(0, progress=drawn)

    def lesions_of(epoch: int) -> Sequence[Patch]:
        return [*real, *(make(epoch, progress=no_progress) if fresh else fixed)]

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
    with new_folder(out, overwrite) as folder:
        losses = pretrain(
            lesions_of, settings or {}, folder=folder, state=state, card=card, device=chosen_device,
            progress=subprogress(progress, LESIONS_SHARE if not fresh else 0.05, 1.0),
        )  # fmt: skip
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
    make: Callable[[int], Patch] = partial(_one, seed, families)
    found = []
    if workers <= 1:
        for done, number in enumerate(numbers, start=1):
            found.append(make(number))
            progress(done / count, f"synthetic lesion {done} of {count}")
        return found
    with ProcessPoolExecutor(workers, initializer=_one_thread) as pool:
        try:
            for done, patch in enumerate(pool.map(make, numbers, chunksize=4), start=1):
                found.append(patch)
                progress(done / count, f"synthetic lesion {done} of {count}")
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return found


def _one(seed: int, families: tuple[str, ...], number: int) -> Patch:
    return cropped(lesion_patch(seed, number, families=families))


def _one_thread() -> None:
    """Limit a worker to one thread, and leave the handling of Ctrl-C to its parent process."""
    import signal

    import SimpleITK as sitk
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    threadpool_limits(1)


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
