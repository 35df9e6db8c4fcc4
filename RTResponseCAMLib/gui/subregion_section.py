"""Subregion: a threshold with live outline and volume, the segment that is kept, its dose against the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.gui.section import Section

if TYPE_CHECKING:
    from RTResponseCAMLib.state import State
    from RTResponseCAMLib.subregion.voxels import LesionVoxels, Part


class SubregionSection(Section):
    """Follows the slider; draws nothing before the slider is moved."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self._cut, self._lesion, self._previewing = 0.0, "", False
        self._preview: Any = None
        self._created, self._message = "", ""
        self._items: list[Any] = []
        table = self._ui.subregionTable
        table.setColumnCount(5)
        table.setHorizontalHeaderLabels(["", _("cm³"), _("Mean Gy"), _("D98 Gy"), _("D2 Gy")])
        table.verticalHeader().setVisible(False)
        table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        self._ui.createSegmentButton.connect("clicked(bool)", self._on_create)
        self._ui.editSegmentButton.connect("clicked(bool)", self._on_edit)
        self._ui.dvhButton.connect("clicked(bool)", self._on_dvh)
        self._cuts = {
            self._ui.cutZeroButton: ("value", 0.0),
            self._ui.cutPercentileButton: ("percentile", 80.0),
            self._ui.cutOtsuButton: ("otsu", 0.0),
        }
        for button, (method, value) in self._cuts.items():
            button.connect("clicked(bool)", lambda _checked=False, m=method, v=value: self._choose_cut(m, v))

    def stop(self) -> None:
        """Take the preview away and forget the segment that was made."""
        self.hide_preview()
        self._created, self._message = "", ""

    def connect_parameters(self) -> None:
        """Take the present threshold for shown."""
        self._cut, self._lesion = self._parameters.subregionCut, self._parameters.selectedLesion

    def follow_cut(self) -> None:
        """Update outline, volume and table when threshold or lesion have changed."""
        cut, lesion = self._parameters.subregionCut, self._parameters.selectedLesion
        if (cut, lesion) == (self._cut, self._lesion):
            return
        self._previewing = self._previewing or cut != self._cut
        self._cut, self._lesion, self._message = cut, lesion, ""
        self._show()

    def hide_preview(self) -> None:
        """Take the outline away."""
        self._previewing = False
        if self._preview is not None:
            self._preview.hide()

    def refresh(self, state: State) -> None:
        """Show the numbers of the present threshold."""
        self._show()

    def _voxels(self) -> LesionVoxels | None:
        if not self._logic.started:
            return None
        try:
            found: LesionVoxels | None = self._logic.session.subregions.voxels(self._parameters)
        except RTResponseError as error:
            self._message = str(error)
            return None
        return found

    def _show(self) -> None:
        voxels = self._voxels()
        segmentation = self._parameters.segmentation
        if voxels is None or segmentation is None:
            self.hide_preview()
            self._ui.subregionVolumeLabel.text = self._message or _("Predict the selected lesion first.")
            self._fill(())
            self._enable(False, self._ui.subregionVolumeLabel.text)
            self._enable_dose(voxels)
            return
        from RTResponseCAMLib.subregion.voxels import compare

        mask = voxels.above(self._cut)
        inside, rest = compare(voxels, self._cut)
        whole = inside.volume_cc + rest.volume_cc
        share = 100 * inside.volume_cc / whole if whole else 0.0
        text = _("{volume:.3f} cm³ of {whole:.3f} cm³ ({share:.0f} %) above {cut:.2f}")
        text = text.format(volume=inside.volume_cc, whole=whole, share=share, cut=self._cut)
        self._ui.subregionVolumeLabel.text = f"{self._message}\n{text}" if self._message else text
        self._fill(((_("Subregion"), inside), (_("Rest of lesion"), rest)))
        some = bool(mask.any())
        self._enable_dose(voxels)
        self._enable(some, _("Keep the subregion as a segment.") if some else _("No voxel exceeds the threshold."))
        if self._previewing:
            if self._preview is None:
                from RTResponseCAMLib.scene.subregion import Preview

                self._preview = Preview(slicer.mrmlScene)
            self._preview.show(voxels, mask, self._parameters.mrVolume)

    def _enable(self, create: bool, reason: str) -> None:
        self._ui.createSegmentButton.enabled = create
        self._ui.createSegmentButton.toolTip = reason
        segmentation = self._parameters.segmentation
        kept = segmentation is not None and segmentation.GetSegmentation().GetSegment(self._created) is not None
        self._ui.editSegmentButton.enabled = bool(self._created) and kept
        hint = _("Open the Segment Editor on the subregion created last.")
        self._ui.editSegmentButton.toolTip = hint if kept and self._created else _("Create a segment first.")

    def _enable_dose(self, voxels: LesionVoxels | None) -> None:
        for button in self._cuts:
            button.enabled = voxels is not None
        dosed = voxels is not None and voxels.dose is not None
        self._ui.dvhButton.enabled = dosed
        hint = _("Dose-volume histograms of the subregion and the rest of the lesion.")
        self._ui.dvhButton.toolTip = hint if dosed else _("No dose reaches the whole lesion.")

    def _choose_cut(self, method: str, value: float) -> None:
        from RTResponseCAMLib.scene.lesions import PREFIX
        from RTResponseCAMLib.subregion.select import Selection, cut_of

        voxels = self._voxels()
        if voxels is not None:
            if method == "value":  # where evidence begins to speak for non-response, in the map's own scale
                value = float(self._parameters.camVolume.GetAttribute(f"{PREFIX}cut") or value)
            self._ui.subregionSlider.value = cut_of(voxels, Selection(method, value))

    def _on_dvh(self, _checked: bool = False) -> None:
        try:
            self._logic.showDvh(self._parameters, self._cut)
        except RTResponseError as error:
            self._message = str(error)
        self._panel.refresh()

    def _fill(self, parts: tuple[tuple[str, Part], ...]) -> None:
        table = self._ui.subregionTable
        table.setRowCount(len(parts))
        self._items = []
        for row, (name, part) in enumerate(parts):
            doses = (part.mean_gy, part.d98_gy, part.d2_gy)
            texts = [name, f"{part.volume_cc:.3f}", *("–" if value is None else f"{value:.1f}" for value in doses)]
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                self._items.append(item)
                table.setItem(row, column, item)

    def _on_create(self, _checked: bool = False) -> None:
        try:
            self._created = self._logic.session.subregions.create(self._parameters, self._parameters.subregionCut)
        except RTResponseError as error:
            self._message = str(error)
        else:
            segment = self._parameters.segmentation.GetSegmentation().GetSegment(self._created)
            self._message = _("Created '{name}'.").format(name=segment.GetName())
            self.hide_preview()
        self._panel.refresh()

    def _on_edit(self, _checked: bool = False) -> None:
        self._logic.editSegment(self._parameters, self._created)
