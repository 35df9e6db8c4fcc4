"""Subregion section: threshold with live outline and volume, segment creation, dose inside and outside."""

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
    """Follows the threshold slider; shows no preview before the slider is moved."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self._threshold, self._lesion, self._previewing = 0.0, "", False
        self._preview: Any = None
        self._drawn: tuple[float, str | None, LesionVoxels | None] = (0.0, None, None)  # threshold, transform
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
        """Remove the preview, discard a running measurement, and clear the messages."""
        self._runner.stop()
        self.hide_preview()
        self._created, self._message, self._measured = "", "", ""

    def connect_parameters(self) -> None:
        """Store the current threshold and lesion as already shown."""
        self._threshold, self._lesion = self._parameters.subregionThreshold, self._parameters.selectedLesion

    def follow_threshold(self) -> None:
        """Update outline, volume and table after a change of threshold or lesion."""
        threshold, lesion = self._parameters.subregionThreshold, self._parameters.selectedLesion
        if (threshold, lesion) == (self._threshold, self._lesion):
            return
        if lesion != self._lesion:  # the check box applies to one lesion
            self._ui.contourFlaggedCheckBox.checked = False
        self._previewing = self._previewing or threshold != self._threshold
        self._threshold, self._lesion, self._message = threshold, lesion, ""
        self._show()

    def hide_preview(self) -> None:
        """Remove the outline."""
        self._previewing, self._drawn = False, (0.0, None, None)
        if self._preview is not None:
            self._preview.hide()

    def refresh(self, state: State) -> None:
        """Show the values at the current threshold."""
        self._show_titles(state.dose_unit)
        self._stale = frozenset(state.stale)
        self._show()

    def _show_titles(self, unit: str) -> None:
        """Set the column titles; the titles of the dose columns include the unit."""
        doses = [f"{figure} {unit}" for figure in (_("Mean"), "D98", "D2")]
        self._ui.subregionTable.setHorizontalHeaderLabels(["", _("cm³"), *doses])

    def _voxels(self) -> LesionVoxels | None:
        if not self._logic.started:
            return None
        try:
            voxels: LesionVoxels | None = self._work.subregions.voxels(self._parameters)
        except RTResponseError as error:
            self._message = error.translated()
            return None
        return voxels

    def _show(self) -> None:
        voxels = self._voxels()
        segmentation = self._parameters.segmentation
        if voxels is None or segmentation is None:
            self.hide_preview()
            next_step = _("Predict the selected lesion first.")
            next_step = _("Choose the planning MR.") if self._parameters.mrVolume is None else next_step
            self._ui.subregionVolumeLabel.text = self._message or next_step
            self._fill(())
            self._enable(False, self._ui.subregionVolumeLabel.text)
            self._enable_dose(voxels, False)
            self._ui.contourFlaggedCheckBox.setVisible(False)
            return
        from RTResponseCAMLib.subregion.voxels import compare

        mask = voxels.above(self._threshold)
        inside, rest = compare(voxels, self._threshold)
        total_cc = inside.volume_cc + rest.volume_cc
        share = 100 * inside.volume_cc / total_cc if total_cc else 0.0
        text = _("{volume:.3f} cm³ of {whole:.3f} cm³ ({share:.0f} %) above {threshold:.2f}")
        text = text.format(volume=inside.volume_cc, whole=total_cc, share=share, threshold=self._threshold)
        row = self._work.subregions.row(self._parameters)
        quality_flags = "; ".join(row.quality_flags) if row is not None else ""
        flag_lines = [_("Quality flags: {quality_flags}").format(quality_flags=quality_flags)] if quality_flags else []
        self._ui.subregionVolumeLabel.text = "\n".join([*([self._message] if self._message else []), text, *flag_lines])
        self._ui.contourFlaggedCheckBox.setVisible(bool(quality_flags))
        self._fill(((_("Subregion"), inside), (_("Rest of lesion"), rest)))
        stale = self._lesion in self._stale
        has_voxels = bool(mask.any()) and not stale
        self._enable_dose(voxels, has_voxels)
        allowed = not quality_flags or self._ui.contourFlaggedCheckBox.checked
        reason = _("Create a segment from the subregion.")
        if stale:
            reason = _("Results are out of date: predict again.")
        elif not has_voxels:
            reason = _("No voxel exceeds the threshold.")
        elif not allowed:
            reason = _("The evidence has quality flags: select the check box above to create the segment anyway.")
        self._enable(has_voxels and allowed, reason)
        transform_id = self._parameters.mrVolume.GetTransformNodeID()
        if self._previewing and (self._drawn[:2] != (self._threshold, transform_id) or self._drawn[2] is not voxels):
            self._drawn = self._threshold, transform_id, voxels
            if self._preview is None:
                from RTResponseCAMLib.scene.subregion import Preview

                self._preview = Preview(slicer.mrmlScene)
            self._preview.show(voxels, mask, reference=self._parameters.mrVolume)

    def _enable(self, create: bool, reason: str) -> None:
        self._ui.createSegmentButton.enabled = create
        self._ui.createSegmentButton.toolTip = reason
        segmentation = self._parameters.segmentation
        exists = segmentation is not None and segmentation.GetSegmentation().GetSegment(self._created) is not None
        self._ui.editSegmentButton.enabled = bool(self._created) and exists
        hint = _("Open the last created subregion in the Segment Editor.")
        self._ui.editSegmentButton.toolTip = hint if exists and self._created else _("Create a segment first.")

    def _enable_dose(self, voxels: LesionVoxels | None, any_selected: bool) -> None:
        busy = self._runner.busy
        self._ui.measureButton.text = _("Cancel") if busy else _("Measure")
        self._ui.measureButton.enabled = busy or any_selected
        # A change of evidence map, contour or dose gives new voxels: values of the old voxels must not stay.
        valid = self._measured and self._of[:2] == (self._threshold, self._lesion) and self._of[2] is voxels is not None
        self._ui.measureText.plainText = self._measured if valid else ""
        self._ui.measureText.setVisible(bool(valid))
        for button in self._cuts:
            button.enabled = voxels is not None
        has_dose = voxels is not None and voxels.dose is not None and self._lesion not in self._stale
        self._ui.dvhButton.enabled = has_dose
        hint = _("Plot the dose-volume histograms of the subregion and of the rest of the lesion.")
        self._ui.dvhButton.toolTip = (
            hint if has_dose else _("Histograms require a current prediction and a dose that covers the whole lesion.")
        )

    def _choose_threshold(self, method: str, value: float) -> None:
        from RTResponseCAMLib.scene.lesions import stored_subregion_threshold
        from RTResponseCAMLib.subregion.select import Selection, subregion_threshold

        voxels = self._voxels()
        if voxels is not None:
            if method == "value":  # the threshold for non-response that is stored with the evidence map
                value = stored_subregion_threshold(self._parameters.camVolume, value)
            self._ui.subregionSlider.value = subregion_threshold(voxels, Selection(method, value))

    def _on_dvh(self, _checked: bool = False) -> None:
        try:
            self._logic.show_dvh(self._parameters, self._threshold)
        except RTResponseError as error:
            self._message = error.translated()
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
            self._measured = error.translated()
            self._panel.refresh()
            return
        self._runner.start(work, self._on_measured, failed=self._on_not_measured)

    def _on_measured(self, measured: Measured) -> None:
        self._measured = "\n".join(f"• {sentence}" for sentence in measured.sentences())
        self._panel.refresh()

    def _on_not_measured(self, sentence: str) -> None:
        self._measured = sentence or _("The measurement was canceled.")
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
            self._message = error.translated()
        else:
            segment = self._parameters.segmentation.GetSegmentation().GetSegment(self._created)
            self._message = _("Created '{name}'.").format(name=segment.GetName())
            self.hide_preview()
        self._panel.refresh()

    def _on_edit(self, _checked: bool = False) -> None:
        edit_segment(self._parameters, self._created)
