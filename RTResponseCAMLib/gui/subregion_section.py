"""Subregion: a threshold with live outline and volume, the segment that is kept, its dose against the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.gui.runner import Runner
from RTResponseCAMLib.gui.section import Section
from RTResponseCAMLib.gui.segment_editor import edit_segment

if TYPE_CHECKING:
    from RTResponseCAMLib.state import State
    from RTResponseCAMLib.subregion.voxels import LesionVoxels, Part
    from RTResponseCAMLib.workflow.contour import Measured


class SubregionSection(Section):
    """Follows the slider; draws nothing before the slider is moved."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self._threshold, self._lesion, self._previewing = 0.0, "", False
        self._preview: Any = None
        self._drawn: tuple[float, str | None, LesionVoxels | None] = (0.0, None, None)  # cut, transform, of what
        self._created, self._message = "", ""
        self._items: list[Any] = []
        self._measured = ""
        self._stale: frozenset[str] = frozenset()
        self._of: tuple[float, str, LesionVoxels | None] = (0.0, "", None)
        self._runner = Runner(self._ui.measureProgressBar, panel.refresh)
        table = self._ui.subregionTable
        table.setColumnCount(5)
        self._show_titles("Gy")
        table.verticalHeader().setVisible(False)
        table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        self._ui.createSegmentButton.connect("clicked(bool)", self._on_create)
        self._ui.editSegmentButton.connect("clicked(bool)", self._on_edit)
        self._ui.dvhButton.connect("clicked(bool)", self._on_dvh)
        self._ui.measureButton.connect("clicked(bool)", self._on_measure)
        self._ui.contourFlaggedCheckBox.connect("toggled(bool)", lambda _checked: self._show())
        self._cuts = {
            self._ui.cutZeroButton: ("value", 0.0),
            self._ui.cutPercentileButton: ("percentile", 80.0),
            self._ui.cutOtsuButton: ("otsu", 0.0),
        }
        for button, (method, value) in self._cuts.items():
            button.connect("clicked(bool)", lambda _checked=False, m=method, v=value: self._choose_threshold(m, v))

    @property
    def busy(self) -> bool:
        """Whether a subregion is being measured."""
        return self._runner.busy

    def stop(self) -> None:
        """Take the preview away, and forget the segment that was made and what is being measured."""
        self._runner.stop()
        self.hide_preview()
        self._created, self._message, self._measured = "", "", ""

    def connect_parameters(self) -> None:
        """Take the present threshold for shown."""
        self._threshold, self._lesion = self._parameters.subregionThreshold, self._parameters.selectedLesion

    def follow_threshold(self) -> None:
        """Update outline, volume and table when threshold or lesion have changed."""
        threshold, lesion = self._parameters.subregionThreshold, self._parameters.selectedLesion
        if (threshold, lesion) == (self._threshold, self._lesion):
            return
        if lesion != self._lesion:  # asked for one lesion, not for the next
            self._ui.contourFlaggedCheckBox.checked = False
        self._previewing = self._previewing or threshold != self._threshold
        self._threshold, self._lesion, self._message = threshold, lesion, ""
        self._show()

    def hide_preview(self) -> None:
        """Take the outline away."""
        self._previewing, self._drawn = False, (0.0, None, None)
        if self._preview is not None:
            self._preview.hide()

    def refresh(self, state: State) -> None:
        """Show the numbers of the present threshold."""
        self._show_titles(state.dose_unit)
        self._stale = frozenset(state.stale)
        self._show()

    def _show_titles(self, unit: str) -> None:
        """Titles of the columns; the doses' name their unit."""
        doses = [f"{figure} {unit}" for figure in (_("Mean"), "D98", "D2")]
        self._ui.subregionTable.setHorizontalHeaderLabels(["", _("cm³"), *doses])

    def _voxels(self) -> LesionVoxels | None:
        if not self._logic.started:
            return None
        try:
            found: LesionVoxels | None = self._work.subregions.voxels(self._parameters)
        except RTResponseError as error:
            self._message = str(error)
            return None
        return found

    def _show(self) -> None:
        voxels = self._voxels()
        segmentation = self._parameters.segmentation
        if voxels is None or segmentation is None:
            self.hide_preview()
            first = _("Predict the selected lesion first.")
            first = _("Choose the planning MR.") if self._parameters.mrVolume is None else first
            self._ui.subregionVolumeLabel.text = self._message or first
            self._fill(())
            self._enable(False, self._ui.subregionVolumeLabel.text)
            self._enable_dose(voxels, False)
            self._ui.contourFlaggedCheckBox.setVisible(False)
            return
        from RTResponseCAMLib.subregion.voxels import compare

        mask = voxels.above(self._threshold)
        inside, rest = compare(voxels, self._threshold)
        whole = inside.volume_cc + rest.volume_cc
        share = 100 * inside.volume_cc / whole if whole else 0.0
        text = _("{volume:.3f} cm³ of {whole:.3f} cm³ ({share:.0f} %) above {threshold:.2f}")
        text = text.format(volume=inside.volume_cc, whole=whole, share=share, threshold=self._threshold)
        row = self._work.subregions.row(self._parameters)
        quality_flags = "; ".join(row.quality_flags) if row is not None else ""
        flagged = [_("Quality flags: {quality_flags}").format(quality_flags=quality_flags)] if quality_flags else []
        self._ui.subregionVolumeLabel.text = "\n".join([*([self._message] if self._message else []), text, *flagged])
        self._ui.contourFlaggedCheckBox.setVisible(bool(quality_flags))
        self._fill(((_("Subregion"), inside), (_("Rest of lesion"), rest)))
        stale = self._lesion in self._stale
        some = bool(mask.any()) and not stale
        self._enable_dose(voxels, some)
        allowed = not quality_flags or self._ui.contourFlaggedCheckBox.checked
        reason = _("Keep the subregion as a segment.")
        if stale:
            reason = _("Results are out of date: predict again.")
        elif not some:
            reason = _("No voxel exceeds the threshold.")
        elif not allowed:
            reason = _("The evidence is in doubt: tick the box above to contour it all the same.")
        self._enable(some and allowed, reason)
        under = self._parameters.mrVolume.GetTransformNodeID()
        if self._previewing and (self._drawn[:2] != (self._threshold, under) or self._drawn[2] is not voxels):
            self._drawn = self._threshold, under, voxels
            if self._preview is None:
                from RTResponseCAMLib.scene.subregion import Preview

                self._preview = Preview(slicer.mrmlScene)
            self._preview.show(voxels, mask, reference=self._parameters.mrVolume)

    def _enable(self, create: bool, reason: str) -> None:
        self._ui.createSegmentButton.enabled = create
        self._ui.createSegmentButton.toolTip = reason
        segmentation = self._parameters.segmentation
        kept = segmentation is not None and segmentation.GetSegmentation().GetSegment(self._created) is not None
        self._ui.editSegmentButton.enabled = bool(self._created) and kept
        hint = _("Open the Segment Editor on the subregion created last.")
        self._ui.editSegmentButton.toolTip = hint if kept and self._created else _("Create a segment first.")

    def _enable_dose(self, voxels: LesionVoxels | None, some: bool) -> None:
        busy = self._runner.busy
        self._ui.measureButton.text = _("Cancel") if busy else _("Measure")
        self._ui.measureButton.enabled = busy or some
        # Voxels are read anew when map, contour or dose change: figures of the old ones must not stay.
        fits = self._measured and self._of[:2] == (self._threshold, self._lesion) and self._of[2] is voxels is not None
        self._ui.measureText.plainText = self._measured if fits else ""
        self._ui.measureText.setVisible(bool(fits))
        for button in self._cuts:
            button.enabled = voxels is not None
        dosed = voxels is not None and voxels.dose is not None and self._lesion not in self._stale
        self._ui.dvhButton.enabled = dosed
        hint = _("Dose-volume histograms of the subregion and the rest of the lesion.")
        self._ui.dvhButton.toolTip = hint if dosed else _("No dose reaches the whole lesion.")

    def _choose_threshold(self, method: str, value: float) -> None:
        from RTResponseCAMLib.scene.lesions import stored_subregion_threshold
        from RTResponseCAMLib.subregion.select import Selection, subregion_threshold

        voxels = self._voxels()
        if voxels is not None:
            if method == "value":  # where evidence begins to speak for non-response, in the map's own scale
                value = stored_subregion_threshold(self._parameters.camVolume, value)
            self._ui.subregionSlider.value = subregion_threshold(voxels, Selection(method, value))

    def _on_dvh(self, _checked: bool = False) -> None:
        try:
            self._logic.show_dvh(self._parameters, self._threshold)
        except RTResponseError as error:
            self._message = str(error)
        self._panel.refresh()

    def _on_measure(self, _checked: bool = False) -> None:
        if self._runner.busy:
            self._runner.cancel()
            return
        self._of = self._threshold, self._lesion, self._voxels()
        try:
            boost_gy = float(self._ui.boostSpinBox.value)
            work = self._work.subregions.measuring(self._parameters, self._threshold, boost_gy=boost_gy)
        except RTResponseError as error:
            self._measured = str(error)
            self._panel.refresh()
            return
        self._runner.start(work, self._on_measured, failed=self._on_not_measured)

    def _on_measured(self, found: Measured) -> None:
        self._measured = "\n".join(f"• {sentence}" for sentence in found.sentences())
        self._panel.refresh()

    def _on_not_measured(self, sentence: str) -> None:
        self._measured = sentence or _("Measuring was cancelled.")
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
            threshold, anyway = self._parameters.subregionThreshold, bool(self._ui.contourFlaggedCheckBox.checked)
            self._created = self._work.subregions.create(self._parameters, threshold, anyway=anyway)
        except RTResponseError as error:
            self._message = str(error)
        else:
            segment = self._parameters.segmentation.GetSegmentation().GetSegment(self._created)
            self._message = _("Created '{name}'.").format(name=segment.GetName())
            self.hide_preview()
        self._panel.refresh()

    def _on_edit(self, _checked: bool = False) -> None:
        edit_segment(self._parameters, self._created)
