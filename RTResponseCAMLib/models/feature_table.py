"""A feature table of the user as a model: logistic regression on its columns."""

from __future__ import annotations

from RTResponseCAMLib.models.baselines import logistic_entry
from RTResponseCAMLib.models.registry import ModelEntry

COLORS = ("#7b3294", "#008080", "#8c510a", "#4d4d4d", "#c51b7d")  # different from the colors of the registered models


def table_entry(name: str, position: int) -> ModelEntry:
    """Registry entry of the feature table ``name``; its ``position`` among the tables selects its color."""
    color = COLORS[position % len(COLORS)]
    return logistic_entry(
        name, f"Table '{name}'", color=color, families=(name,), predictors=f"the columns of table '{name}'"
    )
