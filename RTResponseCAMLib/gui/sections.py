"""The sections of the panel, in order. A new section needs one file and one line here."""

from __future__ import annotations

from typing import Any

from RTResponseCAMLib.gui.display_section import DisplaySection
from RTResponseCAMLib.gui.export_section import ExportSection
from RTResponseCAMLib.gui.lesion_section import LesionSection
from RTResponseCAMLib.gui.model_section import ModelSection
from RTResponseCAMLib.gui.points_section import PointsSection
from RTResponseCAMLib.gui.predict_section import PredictSection
from RTResponseCAMLib.gui.section import Section
from RTResponseCAMLib.gui.study_section import StudySection
from RTResponseCAMLib.gui.subregion_section import SubregionSection

SECTIONS: dict[str, type[Section]] = {
    "study": StudySection,
    "lesions": LesionSection,
    "model": ModelSection,
    "predict": PredictSection,
    "display": DisplaySection,
    "subregion": SubregionSection,
    "points": PointsSection,
    "export": ExportSection,
}


def make_sections(panel: Any) -> dict[str, Section]:
    """Create the sections of a panel; returns them by name."""
    return {name: section(panel) for name, section in SECTIONS.items()}
