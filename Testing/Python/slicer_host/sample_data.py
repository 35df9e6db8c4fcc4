"""Stand-in for Slicer's SampleData module, as far as ``downloadSample`` goes.

As there, it asks a source for its URIs, fetches each into a cache under the file's name, and loads what came; it does
not ask a source's own downloader, which is for the buttons of the module.
"""

from __future__ import annotations

import tempfile
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import slicer


class SampleDataSource:
    """A set of files; each field is a list, one entry for each file."""

    def __init__(
        self, sampleName: Any = None, uris: Any = None, fileNames: Any = None, nodeNames: Any = None,
        loadFiles: Any = None, loadFileType: Any = None, customDownloader: Any = None, thumbnailFileName: Any = None,
    ) -> None:  # fmt: skip
        if not isinstance(uris, str):
            raise ValueError("one URI is imitated here")
        self.sampleName, self.customDownloader, self.thumbnailFileName = sampleName, customDownloader, thumbnailFileName
        self.uris, self.fileNames, self.nodeNames = [uris], [fileNames], [nodeNames]
        self.loadFiles, self.loadFileType = [loadFiles], [loadFileType]

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


class SampleDataLogic:
    """The register of sources, and the download."""

    @staticmethod
    def sampleDataSourcesByCategory(category: str | None = None) -> Any:
        if not hasattr(slicer.modules, "sampleDataSources"):
            slicer.modules.sampleDataSources = {}
        sources = slicer.modules.sampleDataSources
        return sources if category is None else sources.get(category, [])

    def downloadSamples(self, name: str) -> list[Any]:
        every = [s for sources in self.sampleDataSourcesByCategory().values() for s in sources]
        source = next((s for s in every if s.sampleName == name), None)
        return self.downloadFromSource(source) if source is not None else []

    def downloadFromSource(self, source: SampleDataSource) -> list[Any]:
        found = []
        cache = Path(tempfile.mkdtemp(dir=slicer.app.temporaryPath))
        for uri, name, kind, load in zip(
            source.uris, source.fileNames, source.loadFileType, source.loadFiles, strict=True
        ):
            path = cache / name
            urllib.request.urlretrieve(uri, path)
            if kind == "SceneFile" and load:
                with zipfile.ZipFile(path) as bundle:
                    bundle.extractall(cache / "scene")
                slicer.mrmlScene.SetURL(str(next((cache / "scene").rglob("*.mrml"))))
                if not slicer.mrmlScene.Import():
                    continue
            found.append(str(path))
        return found


def downloadSample(name: str) -> Any:
    """As SampleData.downloadSample."""
    return SampleDataLogic().downloadSamples(name)[0]
