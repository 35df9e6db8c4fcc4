"""What a panel shows of inputs and results; plain data, no numerical library is imported for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from RTResponseCAMLib.scene.lesions import Row


NOTHING_CHOSEN = "Load a study, or choose an MR volume and the segmentation of the lesions."


@dataclass(frozen=True)
class State:
    """What can be done now, and what is known.

    Attributes
    ----------
    problems : sentences that keep a prediction from starting, in the order of the panel; empty when none.
    notes : sentences worth knowing.
    rows : lesions, with results where there are any.
    stale : lesion id → what has changed since its prediction.
    warnings : what the model's card wants said beside everything.
    card : the model's card, None when it cannot be read.
    prescriptions : lesion id and its prescription, Gy; None where nothing states one.
    """

    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    stale: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    card: Mapping[str, Any] | None = None
    prescriptions: tuple[tuple[str, float | None], ...] = ()
