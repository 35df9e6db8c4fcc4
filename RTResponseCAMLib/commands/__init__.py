"""What each command of ``rtresponsecam`` does: read, call the workflow, print. Options are those that `cli` parses."""

from RTResponseCAMLib.commands.cohort import (
    add_model_options,
    cohort_check,
    cohort_import,
    evaluate,
    phantom_cohort,
    phantom_study,
    train,
)
from RTResponseCAMLib.commands.study import dvh, follow_up, inspect, predict
from RTResponseCAMLib.commands.subregion import align, export, subregion

__all__ = [
    "add_model_options", "align",
    "cohort_check", "cohort_import", "dvh", "evaluate", "export", "follow_up", "inspect", "phantom_cohort",
    "phantom_study", "predict", "subregion", "train",
]  # fmt: skip
