"""Synthetic study in Slicer's Sample Data module. It is generated on this computer; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer

from RTResponseCAMLib.gui.events import let_events_happen

SAMPLE_NAME = "RTResponseCAMSample"


def register_sample(load: Callable[..., list[Any]], icons: Path) -> None:
    """Register the synthetic study as sample data.

    Parameters
    ----------
    load : function that creates and loads the study; returns its nodes.
    icons : folder that contains its thumbnail.
    """
    import SampleData

    class SourceMadeHere(SampleData.SampleDataSource):
        """Scene file that is generated on request: ``downloadSample`` supports files only, no custom downloaders."""

        @property
        def uris(self) -> list[str]:
            """URI of the file; the access generates the file."""
            return [make_sample_scene().as_uri()]

        @uris.setter
        def uris(self, _value: Any) -> None:
            pass

        def __str__(self) -> str:  # used to compare sources; must not generate the file
            return f"RTResponseCAM {self.sampleName}"

    source = SourceMadeHere(
        sampleName=SAMPLE_NAME,
        thumbnailFileName=str(icons / f"{SAMPLE_NAME}.png"),
        uris="",  # must be a string; the property above replaces it
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
    """Name of the sample's scene file. The application caches files by name, so the name contains the version."""
    from RTResponseCAMLib import __version__

    return f"{SAMPLE_NAME}-{__version__}.mrb"


def make_sample_scene() -> Path:
    """Write the synthetic study as a scene file into the temporary folder unless it exists; returns its path."""
    from RTResponseCAMLib.workflow.sample import write_sample_scene

    path = Path(slicer.app.temporaryPath) / sample_file_name()
    if not path.exists():
        unfinished = path.with_name(f"unfinished-{path.name}")
        write_sample_scene(unfinished, let_events_happen)
        unfinished.replace(path)  # a partly written file must not be used as the sample
    return path
