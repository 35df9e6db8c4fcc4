"""What the training of every network shares: patient bootstraps, the loss of the response, the start at prevalence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def bootstrap_weights(groups: Sequence[str], members: int, *, rng: np.random.Generator) -> Tensor:
    """Bootstrap weight of each lesion for each member, ``(lesions, members)``: patients sampled with replacement."""
    names = sorted(set(groups))
    patient_index = np.asarray([names.index(g) for g in groups])
    counts = np.stack(
        [np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names)) for _ in range(members)],
        axis=1,
    )
    return torch.from_numpy(counts[patient_index].astype(np.float32))


def logit_of(share: float) -> float:
    """Logit of a fraction of non-response, clipped to 0.02…0.98."""
    share = min(max(share, 0.02), 0.98)
    return float(np.log(share / (1 - share)))


def response_loss(total: Tensor, label: Tensor) -> Tensor:
    """Negative log-likelihood of each label (1 for non-response), given its logit."""
    return functional.softplus(total) - label * total
