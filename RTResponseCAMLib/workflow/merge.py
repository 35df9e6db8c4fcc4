"""Merge of a new result for some lesions with the valid part of an earlier result."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.imaging.fraction import filled_voxels, structure_box
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.resample import resample_nearest
from RTResponseCAMLib.study import Result


def merge_results(old: Result, new: Result, *, keep: Collection[str]) -> Result:
    """Return ``new`` with the lesions of ``old`` whose ids are in ``keep`` added, ordered by ROI number.

    The voxels of both maps are voxels of the same MR.
    """
    new_ids = {p.lesion.id for p in new.predictions}
    sources = [(p, new) for p in new.predictions]
    sources += [(p, old) for p in old.predictions if p.lesion.id in keep and p.lesion.id not in new_ids]
    sources.sort(key=lambda pair: pair[0].lesion.structure.number)
    frame = _union(Grid.of(old.cam), Grid.of(new.cam))
    cam, subregions = np.zeros(frame.shape, dtype=np.float32), np.zeros(frame.shape, dtype=np.uint8)
    for label, (prediction, source) in enumerate(sources, start=1):
        box = structure_box(prediction.lesion.structure, frame)
        lesion_mask = box.image(filled_voxels(prediction.lesion.structure, box).astype(np.uint8))
        inside = sitk.GetArrayFromImage(resample_nearest(lesion_mask, frame)) > 0
        cam[inside] = sitk.GetArrayFromImage(resample_nearest(source.cam, frame))[inside]
        above = sitk.GetArrayFromImage(resample_nearest(source.subregions, frame)) > 0
        subregions[inside] = np.where(above[inside], label, 0)
    predictions = tuple(prediction for prediction, _ in sources)
    study = replace(new.study, lesions=tuple(p.lesion for p in predictions))
    return replace(new, study=study, predictions=predictions, cam=frame.image(cam), subregions=frame.image(subregions))


def _union(first: Grid, second: Grid) -> Grid:
    start = np.rint(first.to_index(np.asarray([second.origin_mm]))[0]).astype(int)
    low = np.minimum(start, 0)
    size = np.maximum(start + np.asarray(second.size), first.size) - low
    return first.crop((int(low[0]), int(low[1]), int(low[2])), (int(size[0]), int(size[1]), int(size[2])))
