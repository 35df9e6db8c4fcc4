"""Registry entry of the model on image-gradient features."""

from __future__ import annotations

from RTResponseCAMLib.models.baselines import logistic_entry

TEXT = "image gradients: 90 features as documented in samples/gradient.py"
ENTRIES = (logistic_entry("gradient", "Image gradients", color="#e69f00", families=("gradient",), predictors=TEXT),)
