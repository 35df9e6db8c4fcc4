"""Reading of volumes from image files (NIfTI, NRRD, MetaImage), and conversion of label maps to structures."""

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
    """Return a 3-D scalar volume read from a file; its size is checked before any voxel is read.

    Raises
    ------
    StudyError : the file does not exist, is not an image, is not a 3-D scalar volume, or exceeds 1 GB.
    """
    if not path.is_file():
        raise StudyError(path, "there is no such file", "Correct the path")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        size = reader.GetSize()
        if reader.GetNumberOfComponents() != 1 or len([n for n in size if n > 1]) != 3 or len(size) > 4:
            raise StudyError(path, f"is not a 3-D scalar volume (size {size})", "Give one volume")
        width = sitk.Image([1, 1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
        if np.prod(size, dtype=np.float64) * width > MAX_BYTES:
            raise StudyError(path, f"has {size} voxels of {width} bytes, more than 1 GB", "Give a smaller volume")
        _check_stored(path, reader)
        image = reader.Execute()
    except StudyError:
        raise
    except Exception as error:  # ITK's readers raise any exception, also while decoding their own messages
        raise StudyError(path, "cannot be read as an image", "Give NIfTI, NRRD or MetaImage") from error
    if image.GetDimension() == 4:
        image = image[:, :, :, 0]
    return image


def read_mr(path: Path) -> sitk.Image:
    """Return an MR volume read from a file, float32 (LPS, mm).

    Raises
    ------
    StudyError : see `read_volume`; also if values are not finite.
    """
    image = sitk.Cast(read_volume(path), sitk.sitkFloat32)
    if not np.isfinite(sitk.GetArrayViewFromImage(image).sum(dtype=np.float64)):
        raise StudyError(path, "contains values that are not finite (NaN)", "Export the MR again")
    return image


def label_structures(image: sitk.Image, values: tuple[int, ...] | None = None) -> tuple[Structure, ...]:
    """Return the connected components of a label map (one label, 26-neighborhood) as structures, largest first.

    Parameters
    ----------
    values : label values that together form lesions (for example 1 and 2: necrosis and enhancing rim). If None, each
        value except 0 is used separately.

    Raises
    ------
    GeometryError : the values are not labels, there are more than 500 connected components, or the labels extend over
        more than 64 million voxels.
    """
    labels, grid = _occupied(image, values)
    if not labels.size:
        return ()
    label_image = sitk.GetImageFromArray(labels)
    # All labels are processed in one pass: a search per label takes minutes on a damaged label map.
    components = sitk.RelabelComponent(
        sitk.ScalarConnectedComponent(label_image, label_image != 0, 0.0, True), sortByObjectSize=True
    )
    component_map = sitk.GetArrayFromImage(components)
    if component_map.max() > MAX_REGIONS:
        raise GeometryError("the mask", f"has more than {MAX_REGIONS} regions", "Clean the mask")
    labeled_contours = []
    for index, box in enumerate(find_objects(component_map.astype(np.int32)), start=1):
        component = component_map[box] == index
        label = "region" if values is not None else f"region {labels[box][component][0]}"
        labeled_contours.append((label, edge_contours(component, _part(grid, box))))
    total, seen = Counter(label for label, _ in labeled_contours), Counter[str]()
    structures = []
    for index, (label, contours) in enumerate(labeled_contours, start=1):
        seen[label] += 1
        title = label if total[label] == 1 else f"{label}/{seen[label]}"
        structures.append(Structure(index, title, "", contours))
    return tuple(structures)


def label_structure(image: sitk.Image, values: tuple[int, ...]) -> Structure:
    """Return all voxels of the given label values as one structure; it has no contours if there are no such voxels.

    Raises
    ------
    GeometryError : see `label_structures`, except the limit on connected components.
    """
    labels, grid = _occupied(image, values)
    return Structure(1, "region", "", edge_contours(labels > 0, grid))


def labels_touch(image: sitk.Image) -> bool:
    """Return True if voxels of different labels share a face, as the parts of one lesion do."""
    labels, _ = _occupied(image, None)
    for axis in range(3):
        lower, upper = (np.take(labels, range(n, max(labels.shape[axis] - 1 + n, 0)), axis) for n in (0, 1))
        if ((lower != upper) & (lower != 0) & (upper != 0)).any():
            return True
    return False


def _occupied(image: sitk.Image, values: tuple[int, ...] | None) -> tuple[npt.NDArray[np.integer[Any]], Grid]:
    """Return the labels (1 for any of ``values``) cropped to their bounding box, and the grid of that box."""
    labels = sitk.GetArrayFromImage(image)
    if labels.dtype.kind == "f":
        rounded = np.rint(np.nan_to_num(labels))
        if np.abs(rounded - np.nan_to_num(labels)).max(initial=0) > 1e-3 or np.abs(rounded).max(initial=0) > 65535:
            raise GeometryError("the mask", "contains values that are not label numbers", "Give a label map")
        labels = rounded.astype(np.int32)
    if values is not None:
        labels = np.isin(labels, values).astype(np.uint8)
    boxes = find_objects((labels != 0).astype(np.uint8))
    box = boxes[0] if boxes else (slice(0, 0),) * 3
    labels = labels[box]
    if labels.size > MAX_BOX:
        cause = f"has labels spread over {labels.size / 1e6:.0f} million voxels, more than {MAX_BOX / 1e6:.0f} million"
        raise GeometryError("the mask", cause, "Crop or resample it")
    return labels, _part(Grid.of(image), box)


def _part(grid: Grid, box: tuple[slice, ...]) -> Grid:
    """Return the grid of a box ``[z, y, x]`` of an array."""
    start = tuple(int(part.start) for part in reversed(box))
    size = tuple(int(part.stop - part.start) for part in reversed(box))
    return grid.crop((start[0], start[1], start[2]), (size[0], size[1], size[2]))


def _check_stored(path: Path, reader: sitk.ImageFileReader) -> None:
    """Reject a small file whose header declares a huge volume; masks compress by a factor of about 1000."""
    declared = float(np.prod(reader.GetSize(), dtype=np.float64))
    if declared > 2**20 * 64 and path.suffix not in (".nhdr", ".mhd") and declared > 2000 * path.stat().st_size:
        raise StudyError(
            path, f"declares {declared / 1e6:.0f} million voxels, too many for its file size", "Check the file"
        )
