"""Stand-in for the Segment Editor's widget, as far as its selection goes."""

from __future__ import annotations

from typing import Any


class Editor:
    """On entering, it puts back its own selection; another segmentation is entered at its first segment."""

    def __init__(self) -> None:
        self.chosen: dict[str, Any] = {}

    def enter(self, _name: str) -> None:
        self.chosen = {"segment": "the one it had before"}

    def setSegmentationNode(self, node: Any) -> None:
        self.chosen["segmentation"] = node
        self.chosen["segment"] = node.GetSegmentation().GetNthSegmentID(0)

    def setSourceVolumeNode(self, node: Any) -> None:
        self.chosen["source"] = node

    def setCurrentSegmentID(self, segment: str) -> None:
        self.chosen["segment"] = segment
