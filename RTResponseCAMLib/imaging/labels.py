"""Volumes from image files (NIfTI, NRRD, MetaImage), and label maps as structures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy.ndimage import find_objects

from RTResponseCAMLib.errors import GeometryError, StudyError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.outlines import edge_contours
from RTResponseCAMLib.study import Structure

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
MAX_BYTES = 2**30
MAX_REGIONS = 500
MAX_BOX = 64_000_000


def read_volume(path: Path) -> sitk.Image:
    """Read a 3-D scalar volume; its size is checked before any voxel is read.

    Raises
    ------
    StudyError : no such file, not an image, not a 3-D scalar volume, or more than 1 GB.
    """
    if not path.is_file():
        raise StudyError(path, "there is no such file", "Correct the path")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        size = reader.GetSize()
        if reader.GetNumberOfComponents() != 1 or len([n for n in size if n > 1]) != 3 or len(size) > 4:
            raise StudyError(path, f"is no 3-D scalar volume (size {size})", "Give one volume")
        width = sitk.Image([1, 1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
        if np.prod(size, dtype=np.float64) * width > MAX_BYTES:
            raise StudyError(path, f"holds {size} voxels of {width} bytes, more than 1 GB", "Give a smaller volume")
        _check_stored(path, reader)
        image = reader.Execute()
    except StudyError:
        raise
    except Exception as error:  # ITK's readers raise anything, also while decoding their own messages
        raise StudyError(path, "cannot be read as an image", "Give NIfTI, NRRD or MetaImage") from error
    if image.GetDimension() == 4:
        image = image[:, :, :, 0]
    return image


def read_mr(path: Path) -> sitk.Image:
    """Read an MR volume as float32 (LPS, mm).

    Raises
    ------
    StudyError : see `read_volume`; also values that are not finite.
    """
    image = sitk.Cast(read_volume(path), sitk.sitkFloat32)
    if not np.isfinite(sitk.GetArrayViewFromImage(image).sum(dtype=np.float64)):
        raise StudyError(path, "holds values that are not finite (NaN)", "Export the MR again")
    return image


def label_structures(image: sitk.Image, values: tuple[int, ...] | None = None) -> tuple[Structure, ...]:
    """Islands of a label map (voxels of one label that touch, 26-neighbors) as structures, largest first.

    Parameters
    ----------
    values : label values that make up lesions together (1 and 2: necrosis and enhancing rim); every value but 0
        on its own when None.

    Raises
    ------
    GeometryError : values that are no labels, more than 500 islands, or labels spread over more than 64 million voxels.
    """
    labels, grid = _occupied(image, values)
    if not labels.size:
        return ()
    part = sitk.GetImageFromArray(labels)
    # One pass for all labels: a search per label takes minutes on a damaged map.
    islands = sitk.RelabelComponent(sitk.ScalarConnectedComponent(part, part != 0, 0.0, True), sortByObjectSize=True)
    numbers = sitk.GetArrayFromImage(islands)
    if numbers.max() > MAX_REGIONS:
        raise GeometryError("the mask", f"falls into more than {MAX_REGIONS} regions", "Clean the mask")
    found = []
    for number, box in enumerate(find_objects(numbers.astype(np.int32)), start=1):
        own = numbers[box] == number
        label = "region" if values is not None else f"region {labels[box][own][0]}"
        found.append((label, edge_contours(own, _part(grid, box))))
    total, seen = Counter(label for label, _ in found), Counter[str]()
    structures = []
    for number, (label, contours) in enumerate(found, start=1):
        seen[label] += 1
        title = label if total[label] == 1 else f"{label}/{seen[label]}"
        structures.append(Structure(number, title, "", contours))
    return tuple(structures)


def label_structure(image: sitk.Image, values: tuple[int, ...]) -> Structure:
    """Every voxel of some label values as one structure, without contours where there is none.

    Raises
    ------
    GeometryError : see `label_structures`; islands are not counted.
    """
    labels, grid = _occupied(image, values)
    return Structure(1, "region", "", edge_contours(labels > 0, grid))


def labels_touch(image: sitk.Image) -> bool:
    """Whether voxels of different labels lie face to face, as the parts of one lesion do."""
    labels, _ = _occupied(image, None)
    for axis in range(3):
        one, two = (np.take(labels, range(n, max(labels.shape[axis] - 1 + n, 0)), axis) for n in (0, 1))
        if ((one != two) & (one != 0) & (two != 0)).any():
            return True
    return False


def _occupied(image: sitk.Image, values: tuple[int, ...] | None) -> tuple[npt.NDArray[np.integer[Any]], Grid]:
    """Labels (1 for any of ``values``) in the box that holds them all, and the box's grid."""
    labels = sitk.GetArrayFromImage(image)
    if labels.dtype.kind == "f":
        rounded = np.rint(np.nan_to_num(labels))
        if np.abs(rounded - np.nan_to_num(labels)).max(initial=0) > 1e-3 or np.abs(rounded).max(initial=0) > 65535:
            raise GeometryError("the mask", "holds values that are no label numbers", "Give a label map")
        labels = rounded.astype(np.int32)
    if values is not None:
        labels = np.isin(labels, values).astype(np.uint8)
    boxes = find_objects((labels != 0).astype(np.uint8))
    box = boxes[0] if boxes else (slice(0, 0),) * 3
    labels = labels[box]
    if labels.size > MAX_BOX:
        what = f"has labels spread over {labels.size / 1e6:.0f} million voxels, more than {MAX_BOX / 1e6:.0f} million"
        raise GeometryError("the mask", what, "Crop or resample it")
    return labels, _part(Grid.of(image), box)


def _part(grid: Grid, box: tuple[slice, ...]) -> Grid:
    """Grid of a box ``[z, y, x]`` of an array."""
    start = tuple(int(part.start) for part in reversed(box))
    size = tuple(int(part.stop - part.start) for part in reversed(box))
    return grid.crop((start[0], start[1], start[2]), (size[0], size[1], size[2]))


def _check_stored(path: Path, reader: sitk.ImageFileReader) -> None:
    """A small file that promises gigabytes is a trap: compression of masks reaches about a thousand."""
    promised = float(np.prod(reader.GetSize(), dtype=np.float64))
    if promised > 2**20 * 64 and path.suffix not in (".nhdr", ".mhd") and promised > 2000 * path.stat().st_size:
        raise StudyError(path, f"promises {promised / 1e6:.0f} million voxels in a tiny file", "Check the file")
