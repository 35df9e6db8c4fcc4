"""What a model was trained on, and how unlike a lesion is: a distance with a p-value, and words for what differs.

Of every training lesion the properties of its scan and of its appearance are measured on its patch (`properties_of`).
The distance of a new lesion is that of Mahalanobis, with a covariance that is shrunk [Ledoit and Wolf 2004]. Its
p-value is the share of training lesions that are at least as far from the others: the distance of each is taken from
folds that do not contain its patient, because a lesion lies nearer to a distribution that it helped to estimate. The
scan and the lesion's appearance are compared apart: lesions differ so much that their variety would hide another scan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, gaussian_filter

from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.samples.sample import LesionSample

Array64 = npt.NDArray[np.float64]
UNLIKELY = 0.05  # p below which a lesion counts as unlike the training lesions
LEAST_LESIONS = 40  # fewer do not describe a distribution: no p-value could be small enough
FOLDS = 10
FAR = 6.0  # standard deviations to which a property is limited
NAMED, MOST_NAMED = 1.7, 3  # standard deviations from which a property of a group is named, and how many are
CLEAR_MM, BORDER_VOXELS = 2.0, 1  # distance from the lesion, and from the patch's border, at which noise is measured

# Each property in words: above, and below what the model was trained on.
WORDS: Mapping[str, tuple[str, str]] = {
    "volume": ("larger", "smaller"),
    "voxel": ("larger voxels", "smaller voxels"),
    "slice": ("thicker slices", "thinner slices"),
    "sharpness": ("sharper", "less sharp"),
    "sharpness_inside": ("finer texture", "smoother texture"),
    "noise": ("noisier", "less noisy"),
    "noise_grain": ("coarser noise", "finer noise"),
    "brightness": ("brighter", "darker"),
    "contrast": ("more contrast", "less contrast"),
    "spread": ("more heterogeneous", "more homogeneous"),
}
NAMES = tuple(WORDS)
GROUPS: Mapping[str, tuple[str, ...]] = {
    "scan": ("voxel", "slice", "sharpness", "noise", "noise_grain"),
    "lesion": ("volume", "sharpness_inside", "brightness", "contrast", "spread"),
}


def properties_of(patch: Patch) -> dict[str, float]:
    """Properties of `NAMES`, of scan and appearance of one lesion.

    ``volume`` (log cm³), ``voxel`` and ``slice`` (log of the smallest and the largest voxel side, mm; at least that of
    the patch), ``sharpness`` and ``sharpness_inside`` (log ratio of the energies of bands of 0–0.7 and 0.7–1.5 mm,
    around and in the lesion), ``noise`` (log of the median absolute band of 0–0.7 mm outside the lesion, head units),
    ``noise_grain`` (log ratio of the median absolute differences of voxels two and one apart there), ``brightness``
    (mean inside, head units), ``contrast`` (the same, less the median around it), ``spread`` (log standard deviation
    inside, head units).
    """
    spacing = patch.grid.spacing_mm[0]
    mr, inside = patch.mr.astype(np.float64), patch.fraction >= 0.5 * float(patch.fraction.max())
    away = distance_transform_edt(~inside) * spacing
    middle = np.zeros(mr.shape, dtype=bool)
    middle[(slice(BORDER_VOXELS, -BORDER_VOXELS),) * 3] = True
    clear, near = (away > CLEAR_MM) & middle, (away <= 2 * CLEAR_MM) & middle
    around = near & ~inside if (near & ~inside).any() else middle
    fine = mr - gaussian_filter(mr, 0.7 / spacing)
    coarse = gaussian_filter(mr, 0.7 / spacing) - gaussian_filter(mr, 1.5 / spacing)
    quiet = clear if clear.any() else middle
    steps = [_median_step(mr, quiet, step) for step in (1, 2)]
    sides = [max(side, spacing) for side in patch.mr_spacing_mm or (spacing,)]  # finer scans are smoothed to the patch
    level = float(mr[inside].mean())
    return {
        "volume": _log(float(patch.fraction.sum()) * spacing**3 / 1000),
        "voxel": _log(min(sides)),
        "slice": _log(max(sides)),
        "sharpness": _log(float(np.square(fine[near]).mean())) - _log(float(np.square(coarse[near]).mean())),
        "sharpness_inside": _log(float(np.square(fine[inside]).mean())) - _log(float(np.square(coarse[inside]).mean())),
        "noise": _log(float(np.median(np.abs(fine[quiet])))),
        "noise_grain": _log(steps[1]) - _log(steps[0]),
        "brightness": level,
        "contrast": level - float(np.median(mr[around])),
        "spread": _log(float(mr[inside].std())),
    }


def _median_step(mr: Array64, where: npt.NDArray[np.bool_], step: int) -> float:
    """Median absolute difference of voxels ``step`` apart, both of them in ``where``, along all axes."""
    differences = []
    for axis in range(3):
        length = mr.shape[axis] - step
        low, high = (np.take(mr, np.arange(start, start + length), axis) for start in (0, step))
        both = np.logical_and(*(np.take(where, np.arange(s, s + length), axis) for s in (0, step)))
        differences.append(np.abs(high - low)[both])
    found = np.concatenate(differences)
    return float(np.median(found)) if len(found) else 0.0


def _log(value: float) -> float:
    return float(np.log(max(value, 1e-6)))


@dataclass(frozen=True)
class Distribution:
    """Distribution of some properties of the training lesions.

    Attributes
    ----------
    names : properties, of `NAMES`.
    mean, deviation : of each property, ``(properties,)``.
    precision : inverse covariance of the standardized properties ``(properties, properties)``.
    distances : of the training lesions, each from folds without its patient, in ascending order.
    """

    names: tuple[str, ...]
    mean: Array64
    deviation: Array64
    precision: Array64
    distances: Array64

    @classmethod
    def of(cls, names: tuple[str, ...], table: Array64, *, fold: npt.NDArray[np.integer]) -> Distribution:
        """Distribution of a table ``(lesions, names)``; ``fold`` is the number of each lesion's fold."""
        distances = np.empty(len(table))
        for number in np.unique(fold):
            held_out = fold == number
            distances[held_out] = _Normal.of(table[~held_out]).distances(table[held_out])
        whole = _Normal.of(table)
        return cls(names, whole.mean, whole.deviation, whole.precision, np.sort(distances))

    def unlikeness(self, properties: Mapping[str, float]) -> Unlikeness:
        """How unlike a lesion of the given properties is; always with words."""
        values = np.asarray([[properties[name] for name in self.names]])
        normal = _Normal(self.mean, self.deviation, self.precision)
        distance, scores = float(normal.distances(values)[0]), normal.standardized(values)[0]
        farther = len(self.distances) - int(np.searchsorted(self.distances, distance, side="left"))
        order = np.argsort(-np.abs(scores), kind="stable")
        named = [int(i) for i in order if abs(scores[i]) >= NAMED][:MOST_NAMED] or [int(order[0])]
        words = tuple(WORDS[self.names[i]][0 if scores[i] > 0 else 1] for i in named)
        return Unlikeness(distance, (farther + 1) / (len(self.distances) + 1), words)

    def as_json(self) -> dict[str, Any]:
        """Plain values for a card."""
        return {
            "properties": list(self.names),
            "mean": np.round(self.mean, 6).tolist(),
            "deviation": np.round(self.deviation, 6).tolist(),
            "precision": np.round(self.precision, 6).tolist(),
            "distances": np.round(self.distances, 4).tolist(),
        }

    @classmethod
    def from_json(cls, values: Any) -> Distribution:
        """The distribution that `as_json` wrote; raises as `Familiarity.from_json`."""
        keys = ("properties", "mean", "deviation", "precision", "distances")
        if not isinstance(values, Mapping) or any(key not in values for key in keys):
            raise ValueError(f"expected {', '.join(keys)}")
        names = tuple(str(name) for name in values["properties"])
        mean, deviation, precision, distances = (np.asarray(values[key], dtype=np.float64) for key in keys[1:])
        count = len(names)
        shapes = (mean.shape, deviation.shape, precision.shape)
        if not names or not set(names) <= set(NAMES) or shapes != ((count,), (count,), (count, count)):
            raise ValueError("properties and arrays do not fit together")
        if distances.ndim != 1 or not all(np.isfinite(a).all() for a in (mean, deviation, precision, distances)):
            raise ValueError("a value is not finite")
        if (deviation <= 0).any():
            raise ValueError("a deviation is not positive")
        return cls(names, mean, deviation, precision, np.sort(distances))


@dataclass(frozen=True)
class Familiarity:
    """The distributions of the training lesions, by group of `GROUPS`."""

    groups: Mapping[str, Distribution]

    @classmethod
    def of_samples(cls, samples: Sequence[LesionSample]) -> Familiarity | None:
        """Distributions of training lesions; None for fewer than `LEAST_LESIONS` with a patch."""
        known = [(sample.patch, sample.patient) for sample in samples if sample.patch is not None]
        patients = np.unique([patient for _, patient in known], return_inverse=True)[1]
        if len(known) < LEAST_LESIONS or patients.max() == 0:
            return None
        rows = [properties_of(patch) for patch, _ in known]
        fold = np.random.default_rng(0).permutation(int(patients.max()) + 1)[patients] % FOLDS
        return cls(
            {
                group: Distribution.of(names, np.asarray([[row[n] for n in names] for row in rows]), fold=fold)
                for group, names in GROUPS.items()
            }
        )

    def unlikeness(self, patch: Patch) -> Unlikeness:
        """How unlike a lesion is: the group that is most unlike, its p-value corrected for their number."""
        return self.unlikeness_of(properties_of(patch))

    def unlikeness_of(self, properties: Mapping[str, float]) -> Unlikeness:
        """The same from the properties of the lesion."""
        found = [group.unlikeness(properties) for group in self.groups.values()]
        least = min(found, key=lambda u: u.p)
        unlike = [u for u in found if u.p * len(found) < UNLIKELY]
        words = tuple(word for u in sorted(unlike, key=lambda u: u.p) for word in u.words)
        return Unlikeness(least.distance, min(1.0, least.p * len(found)), words)

    def as_json(self) -> dict[str, Any]:
        """Plain values for a card."""
        return {name: group.as_json() for name, group in self.groups.items()}

    @classmethod
    def from_json(cls, values: Any) -> Familiarity:
        """The distributions that `as_json` wrote.

        Raises
        ------
        ValueError : a value is missing, of another shape, not finite, or a property is not known.
        """
        if not isinstance(values, Mapping) or not values:
            raise ValueError("expected groups of properties")
        return cls({str(name): Distribution.from_json(group) for name, group in values.items()})


@dataclass(frozen=True)
class Unlikeness:
    """Result for one lesion.

    Attributes
    ----------
    distance : from the training lesions, in standard deviations.
    p : p-value of the distance: share of training lesions that are at least as far from the others, times the number
        of groups that were looked at, at most 1.
    words : what is unlike, most unlike first; empty for a lesion like those of the training.
    """

    distance: float
    p: float
    words: tuple[str, ...]


@dataclass(frozen=True)
class _Normal:
    """Normal distribution of properties ``(lesions, properties)``."""

    mean: Array64
    deviation: Array64
    precision: Array64

    @classmethod
    def of(cls, table: Array64) -> _Normal:
        from sklearn.covariance import LedoitWolf

        mean = table.mean(axis=0)
        # A property that all share (one voxel size) gets a small deviation: a lesion that differs there is unlike.
        deviation = np.maximum(table.std(axis=0), 0.05)
        scores = np.clip((table - mean) / deviation, -FAR, FAR)
        return cls(mean, deviation, np.asarray(LedoitWolf(assume_centered=False).fit(scores).precision_))

    def standardized(self, table: Array64) -> Array64:
        return np.clip((table - self.mean) / self.deviation, -FAR, FAR)

    def distances(self, table: Array64) -> Array64:
        scores = self.standardized(table)
        return np.asarray(np.sqrt(np.einsum("li,ij,lj->l", scores, self.precision, scores)))
