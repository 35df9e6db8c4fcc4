"""What a saved scene brings back: contours, doses, names; and what it says where that is lost."""

from __future__ import annotations

import pytest

from .conftest import MODULE
from .looking import opened_again


class TestSaved:
    def reopened(self, host, panel, tmp_path):
        from RTResponseCAMLib.scene.save import save_scene

        save_scene(host.scene, tmp_path / "saved.mrb")
        opened_again(host, tmp_path / "saved.mrb", tmp_path)
        panel.initializeParameterNode()
        panel.refresh()

    def test_dose_columns_of_an_unpredicted_study_survive_saving_and_reloading(self, host, loaded, tmp_path):
        before = loaded.logic.state(loaded.parameters).rows
        assert before[0].d98_gy is not None
        self.reopened(host, loaded, tmp_path)
        assert loaded.logic.state(loaded.parameters).rows == before
        host.reload(MODULE)
        assert host.widget.logic.state(host.widget.parameters).rows == before

    @pytest.mark.slow
    def test_a_reopened_scene_predicts_the_same_figures(self, host, predicted, tmp_path):
        before = predicted.logic.result.predictions
        self.reopened(host, predicted, tmp_path)
        after = predicted.logic.predict().predictions
        for one, other in zip(before, after, strict=True):
            assert other.p_response == pytest.approx(one.p_response, abs=1e-4)
            assert other.dose.d98_gy == pytest.approx(one.dose.d98_gy, abs=1e-3)
            assert other.volume_cc == pytest.approx(one.volume_cc, rel=1e-4)

    @pytest.mark.slow
    def test_a_scene_of_an_earlier_version_says_that_its_contours_are_lost(self, host, predicted, tmp_path):
        """It kept voxels only: figures made anew differ from those that it shows, which stay."""
        from RTResponseCAMLib.scene.stored_data import CONTOURS, MEASURES

        p = predicted.parameters
        before = predicted.logic.state(p).rows
        assert not any("contours" in note for note in predicted.logic.state(p).notes)
        for attribute in (CONTOURS, MEASURES):
            p.segmentation.RemoveAttribute(attribute)
        self.reopened(host, predicted, tmp_path)
        state = predicted.logic.state(predicted.parameters)
        assert any("no contours of L1, L2, L3" in note for note in state.notes)
        assert "no contours of L1, L2, L3" in predicted.ui.studyMessageLabel.text
        assert state.rows == before
        assert dict(state.stale) == {}
        predicted.logic.predict()
        assert predicted.logic.state(predicted.parameters).rows != before

    def test_contours_of_a_segment_that_was_edited_do_not_count(self, host, loaded, tmp_path):
        from RTResponseCAMLib.scene.stored_data import CONTOURS, stored_contours

        p = loaded.parameters
        scene_reader = loaded.logic.session._scene_reader
        scene_reader.forget()
        segment = p.segmentation.GetSegmentation().GetNthSegmentID(0)
        kept = stored_contours(p.segmentation)[segment][1]
        assert len(scene_reader.structure(p.segmentation, segment).contours) == len(kept.contours)
        labelmap = p.segmentation.GetSegmentation().GetSegment(segment).GetRepresentation("Binary labelmap")
        scalars = labelmap.GetPointData().GetScalars()
        middle = next(n for n in range(scalars.GetNumberOfTuples()) if scalars.GetTuple1(n))
        scalars.SetTuple1(middle, 0)
        labelmap.Modified()
        scene_reader.forget()
        assert len(scene_reader.structure(p.segmentation, segment).contours) != len(kept.contours)
        for spoiled in ("", "nonsense", "eJwr", '{"a": 1}'):
            p.segmentation.SetAttribute(CONTOURS, spoiled)
            assert stored_contours(p.segmentation) == {}
