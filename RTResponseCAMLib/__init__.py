"""RTResponseCAM: voxel-wise evidence of Gamma Knife response in brain metastases. Research use only."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["evaluate", "follow_up", "load_study", "predict", "train"]

if TYPE_CHECKING:
    from RTResponseCAMLib.api import evaluate, follow_up, load_study, predict, train


def __getattr__(name: str) -> Any:
    """Import a public function at its first use, so that importing the package takes a few milliseconds only."""
    if name in __all__:
        return getattr(import_module("RTResponseCAMLib.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
