"""Volumes from image files (NIfTI, NRRD, MetaImage), and label maps as structures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy.ndimage import find_objects
from scipy.ndimage import label as connected

from RTResponseCAMLib.errors import GeometryError, StudyError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.outlines import edge_contours
from RTResponseCAMLib.study import Structure

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
MAX_BYTES = 2**30
MAX_REGIONS = 500
MAX_SCATTERED = 12
Mask = npt.NDArray[np.bool_]


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


def label_structures(
    image: sitk.Image, values: tuple[int, ...] | None = None, islands: bool = True, name: str = "region"
) -> tuple[Structure, ...]:
    """Regions of a label map as structures, largest first.

    Parameters
    ----------
    values : label values that make up lesions together (1 and 2: necrosis and enhancing rim); every value but 0
        on its own when None.
    islands : split what does not touch (26-neighbours).

    Raises
    ------
    GeometryError : values that are no labels, or more than 500 regions.
    """
    array = sitk.GetArrayFromImage(image)
    if array.dtype.kind == "f":
        rounded = np.rint(np.nan_to_num(array))
        if np.abs(rounded - np.nan_to_num(array)).max(initial=0) > 1e-3 or np.abs(rounded).max(initial=0) > 65535:
            raise GeometryError("the mask", "holds values that are no label numbers", "Give a label map")
        array = rounded.astype(np.int32)
    present = [int(v) for v in np.unique(array) if v != 0]
    if len(present) > MAX_REGIONS:
        raise GeometryError("the mask", f"holds {len(present)} labels, more than {MAX_REGIONS}", "Give a label map")
    if len(present) > MAX_SCATTERED and values is None:
        boxes = [box for box in find_objects(np.maximum(array, 0).astype(np.int32)) if box is not None]
        spread = sum(float(np.prod([part.stop - part.start for part in box])) for box in boxes)
        if spread > MAX_SCATTERED * array.size:  # each label is searched for islands: noise would take minutes
            raise GeometryError("the mask", f"holds {len(present)} labels scattered all over", "Give a label map")
    wanted = [(f"{name} {v}", (v,)) for v in present] if values is None else [(name, values)]
    regions: list[tuple[int, str, Mask, tuple[slice, ...]]] = []
    for title, members in wanted:
        mask = array == members[0] if len(members) == 1 else np.isin(array, members)  # one at a time: masks are large
        if not mask.any():
            continue
        place = find_objects(mask.astype(np.uint8))[0]
        mask = mask[place]
        parts, count = connected(mask, structure=np.ones((3, 3, 3))) if islands else (mask.astype(int), int(mask.any()))
        if count + len(regions) > MAX_REGIONS:
            raise GeometryError("the mask", f"falls into more than {MAX_REGIONS} regions", "Clean the mask")
        for number, box in enumerate(find_objects(parts), start=1):
            own = parts[box] == number
            whole = tuple(slice(p.start + b.start, p.start + b.stop) for p, b in zip(place, box, strict=True))
            regions.append((int(own.sum()), title if count == 1 else f"{title}/{number}", own, whole))
    regions.sort(key=lambda region: -region[0])
    grid = Grid.of(image)
    return tuple(
        Structure(number, title, "", edge_contours(mask, _part(grid, box)))
        for number, (_, title, mask, box) in enumerate(regions, start=1)
    )


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
