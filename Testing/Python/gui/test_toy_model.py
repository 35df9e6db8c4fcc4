"""The panel works with a model that it has never heard of."""

from __future__ import annotations

import numpy as np
import pytest
from toy import TOY

from RTResponseCAMLib.models.registry import register, unregister
from RTResponseCAMLib.scene.nodes import voxels_of
from RTResponseCAMLib.workflow.train import train_bundle

from .test_panel import cells


@pytest.fixture(scope="module")
def toy_bundle(small_cohort, tmp_path_factory):
    register(TOY)
    folder = tmp_path_factory.mktemp("toy") / "bundle"
    train_bundle(small_cohort, folder, name="toy", options={}, card={"name": "a toy of the tests"})
    yield folder
    unregister(TOY.name)


def test_a_toy_predicts_in_the_panel_and_its_evidence_is_shown(host, loaded, toy_bundle):
    loaded.parameters.bundleFolder = str(toy_bundle)
    loaded.refresh()
    assert "a toy of the tests" in loaded.ui.cardLabel.text
    assert "Sensitivity to the scan: not measured" in loaded.ui.cardLabel.text
    loaded.ui.predictButton.click()
    host.wait()
    loaded.refresh()
    assert loaded.ui.staleLabel.text == ""
    result = loaded.logic.result
    assert result.provenance["model"] == "a toy of the tests"
    for row, prediction in zip(cells(loaded.ui.lesionTable), result.predictions, strict=True):
        assert row[5].startswith(f"{prediction.p_response:.2f}")
        assert row[6] == prediction.label
    shown = np.array(voxels_of(loaded.parameters.camVolume))
    assert shown.min() < 0 < shown.max()
    assert np.isfinite(shown).all()
