"""The synthetic study in Slicer's Sample Data module; it is made on this computer, nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer

from RTResponseCAMLib.gui.events import let_events_happen

SAMPLE_NAME = "RTResponseCAMSample"


def register_sample(load: Callable[..., list[Any]], icons: Path) -> None:
    """Offer the synthetic study.

    Parameters
    ----------
    load : makes and loads it; returns its nodes.
    icons : folder of its picture.
    """
    import SampleData

    class SourceMadeHere(SampleData.SampleDataSource):
        """A scene file that is made when it is asked for: ``downloadSample`` knows files only, no own downloaders."""

        @property
        def uris(self) -> list[str]:
            """Address of the file, which is made now."""
            return [make_sample_scene().as_uri()]

        @uris.setter
        def uris(self, _value: Any) -> None:
            pass

        def __str__(self) -> str:  # sources are compared by it, which must not make the file
            return f"RTResponseCAM {self.sampleName}"

    source = SourceMadeHere(
        sampleName=SAMPLE_NAME,
        thumbnailFileName=str(icons / f"{SAMPLE_NAME}.png"),
        uris="",  # must be a text; what counts is made above
        fileNames=sample_file_name(),
        nodeNames=SAMPLE_NAME,
        loadFiles=True,
        loadFileType="SceneFile",
        customDownloader=load,
    )
    sources = SampleData.SampleDataLogic.sampleDataSourcesByCategory().setdefault("RTResponseCAM", [])
    if source not in sources:
        sources.append(source)


def sample_file_name() -> str:
    """Name of the sample's scene file; the application keeps files by name, so it holds the version."""
    from RTResponseCAMLib import __version__

    return f"{SAMPLE_NAME}-{__version__}.mrb"


def make_sample_scene() -> Path:
    """Make the synthetic study as a scene file in the temporary folder, unless it is there; returns its path."""
    from RTResponseCAMLib.workflow.sample import write_sample_scene

    path = Path(slicer.app.temporaryPath) / sample_file_name()
    if not path.exists():
        unfinished = path.with_name(f"unfinished-{path.name}")
        write_sample_scene(unfinished, let_events_happen)
        unfinished.replace(path)  # a file that was cut short must not be taken for the sample
    return path
