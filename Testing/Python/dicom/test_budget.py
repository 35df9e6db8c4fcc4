"""Memory follows what is contoured, not how far it spreads: a large study with hostile but ordinary ROIs.

``Testing/Benchmarks/large_study.py`` times the same work. Here, only a limit of ten minutes ends a process that hangs.
"""

from __future__ import annotations

import numpy as np
import pytest
from hostile_study import LIMIT_MB, histograms, prediction, write_large_study


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return write_large_study(tmp_path_factory.mktemp("large"))


@pytest.mark.slow
def test_histograms_of_twenty_structures_on_a_large_study(large):
    measured = histograms(large)
    volumes = measured["found"]
    assert len(volumes) == 21
    assert volumes["specks"] == pytest.approx(5 * 0.0206, rel=0.03)
    assert volumes["specks tilted"] == pytest.approx(volumes["specks"], rel=0.01)
    assert volumes["outline twice"] == pytest.approx(4 / 3 * np.pi * 15**3 / 1000, rel=0.01)
    assert volumes["filled outline"] == pytest.approx(np.pi * 80**2 * 140 / 1000, rel=0.01)
    assert volumes["liver"] == pytest.approx(4 / 3 * np.pi * 65**3 / 1000, rel=0.01)
    assert volumes["shell"] == pytest.approx(np.pi * (70**2 - 69.4**2) * 122 / 1000, rel=0.01)
    assert measured["peak_mb"] < LIMIT_MB


WARNED = {"specks": "separate-parts", "liver": "volume-range", "outline twice 2 mm off": "hollow-outline",
          "lines": "patch-limit"}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", WARNED)
def test_a_prediction_with_its_report_on_a_large_study(large, tmp_path, name):
    measured = prediction(large, name, out=tmp_path / "out")
    label, *codes = measured["found"]
    assert label == "indeterminate"
    assert WARNED[name] in codes
    assert measured["peak_mb"] < LIMIT_MB
