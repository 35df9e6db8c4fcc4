"""Single synthetic lesions as patches, for training without labels: as many as one likes, never the same one twice.

Only the lesion's surroundings are rendered and scanned, not the whole head; units of intensity come from a coarse image
of the head by the same scanner. That takes a fifth of the time of a study.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.patch import MARGIN_MM, MAX_SIZE, MIN_SIZE, SIZE_STEP, Patch
from RTResponseCAMLib.imaging.resample import HeadIntensity, head_intensity
from RTResponseCAMLib.phantom.anatomy import Anatomy, render_head, sample_anatomy
from RTResponseCAMLib.phantom.families import FAMILIES, sample_realistic
from RTResponseCAMLib.phantom.families.body import RealisticLesion
from RTResponseCAMLib.phantom.families.properties import sample_volumes_cc
from RTResponseCAMLib.phantom.field import Array32
from RTResponseCAMLib.phantom.patient import find_place
from RTResponseCAMLib.phantom.scanner import SCANNERS, acquire
from RTResponseCAMLib.phantom.spec import PhantomSpec

HEADS = 12  # synthetic people among whom the lesions are distributed
COARSE_MM = 4.0
BORDER_VOXELS = 6  # rendered around the patch: filters and k-space must not see its border


@dataclass(frozen=True)
class SingleLesion:
    """One lesion in a box of its MR.

    Attributes
    ----------
    grid : 1 mm voxels of a cube around the lesion, on the scanner's axes; points of the head frame.
    outer, mr : the same with a border of `BORDER_VOXELS` voxels, and the magnitudes there ``[z, y, x]``.
    unit : of the whole head's intensities.
    """

    family: str
    scanner: str
    lesion: RealisticLesion
    grid: Grid
    outer: Grid
    mr: Array32
    unit: HeadIntensity


def single_lesion(
    seed: int,
    number: int,
    *,
    families: tuple[str, ...] = tuple(FAMILIES),
    patient: int | None = None,
    scanner: str = "",
) -> SingleLesion:
    """Return one lesion of a random family, head and scanner; ``seed`` and ``number`` fix it.

    Lesions of the same ``patient`` of one seed lie in the same head and are seen by the same scanner; ``scanner`` names
    another one, for a second scan of the same lesion.
    """
    rng = np.random.default_rng([seed, number, 280])
    shared = rng if patient is None else np.random.default_rng([seed, patient, 281])
    family = str(rng.choice(list(families)))
    person, own_scanner = int(shared.integers(HEADS)), str(shared.choice(list(SCANNERS)))
    scanner_name = scanner or own_scanner
    anatomy, unit = head(seed, person), head_units(seed, person, scanner_name=scanner_name)
    volume_cc = float(sample_volumes_cc(rng, 1)[0])
    radius_mm = (volume_cc * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
    center = find_place(anatomy, radius_mm, placed=[], rng=rng)
    lesion = sample_realistic(
        FAMILIES[family], PhantomSpec(seed=seed), number=1, center_mm=center, volume_cc=volume_cc, rng=rng,
        scanner=1,
    )  # fmt: skip
    size = int(np.clip(SIZE_STEP * np.ceil((2.6 * radius_mm + 2 * MARGIN_MM) / SIZE_STEP), MIN_SIZE, MAX_SIZE))
    corner = np.round(center) - size // 2 + rng.uniform(-0.5, 0.5, 3)
    outer = _grid(corner - BORDER_VOXELS, size + 2 * BORDER_VOXELS)
    still = sitk.Transform(3, sitk.sitkIdentity)

    def render(on: Grid) -> Array32:
        points = on.points() - center
        return lesion.paint(render_head(anatomy, on, to_head=still), points_mm=points, softness_mm=1.0)

    def bias(on: Grid) -> Array32:
        return anatomy.bias.on(on.blank(), still)

    machine = SCANNERS[scanner_name].jittered(shared if patient is not None else rng)
    mr = acquire(machine, render, grid=outer, bias=bias, rng=rng)
    return SingleLesion(family, scanner_name, lesion, _grid(corner, size), outer, mr, unit)


def lesion_patch(seed: int, number: int, *, families: tuple[str, ...] = tuple(FAMILIES)) -> Patch:
    """Return the patch of a `single_lesion`.

    Voxels of 1 mm on the scanner's axes; MR in head units. The fraction is that of a plane surface at the lesion's
    distance from it.
    """
    found = single_lesion(seed, number, families=families)
    inner = slice(BORDER_VOXELS, -BORDER_VOXELS)
    level = found.lesion.level(found.grid.points() - found.lesion.center_mm)
    fraction = np.clip(0.5 + level * found.lesion.radius_mm, 0, 1).astype(np.float32)
    if not fraction.any():
        fraction[np.unravel_index(int(np.argmax(level)), level.shape)] = 1.0
    relative = ((found.mr[inner, inner, inner] - found.unit.median) / found.unit.iqr).astype(np.float32)
    return Patch(found.grid, relative, np.ones(found.grid.shape, np.float32), fraction, False, (1.0, 1.0, 1.0))


@lru_cache(maxsize=HEADS)
def head(seed: int, person: int) -> Anatomy:
    """Anatomy of one synthetic person; their fields take longer to make than a lesion."""
    return sample_anatomy(PhantomSpec(seed=seed, patient=person + 1))


@lru_cache(maxsize=HEADS * len(SCANNERS))
def head_units(seed: int, person: int, *, scanner_name: str) -> HeadIntensity:
    """Median and interquartile range of a head as one scanner sees it, without noise, from a coarse image."""
    anatomy = head(seed, person)
    half = np.asarray((104.0, 120.0, 84.0))
    x, y, z = (-half).tolist()
    shape = [int(2 * h / COARSE_MM) for h in half]
    grid = Grid((shape[0], shape[1], shape[2]), (COARSE_MM,) * 3, (x, y, z - 4.0))
    still = sitk.Transform(3, sitk.sitkIdentity)
    quiet = replace(SCANNERS[scanner_name], noise=1e-4, psf_mm=0.0, slice_share=0.0, k_space=10.0, motion_mm=0.0)
    image = acquire(
        quiet,
        lambda on: render_head(anatomy, on, to_head=still),
        grid=grid,
        bias=lambda on: anatomy.bias.on(on.blank(), still),
        rng=np.random.default_rng(0),
    )
    return head_intensity(grid.image(image))


def _grid(corner: np.ndarray[tuple[int, ...], np.dtype[np.float64]], size: int) -> Grid:
    x, y, z = corner.tolist()
    return Grid((size,) * 3, (1.0, 1.0, 1.0), (x, y, z))
