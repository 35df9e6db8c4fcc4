"""State of an empty scene, computed without the numerical libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.models.card import default_bundle, read_card
from RTResponseCAMLib.state import NOTHING_CHOSEN, State
from RTResponseCAMLib.translation import tr


def empty_state(parameters: Any) -> State:
    """Return the panel's state before anything is chosen: the model card and the first instruction."""
    problems, card = [tr(NOTHING_CHOSEN)], None
    try:
        card = read_card(Path(parameters.bundleFolder) if parameters.bundleFolder else default_bundle())
    except RTResponseError as error:
        problems.append(str(error))
    warnings = tuple(str(text) for text in (card or {}).get("warnings", ()))
    return State(problems=tuple(problems), warnings=warnings, card=card)
