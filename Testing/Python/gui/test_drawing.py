"""One change, one drawing: views of the application draw in the middle of a change that takes longer than 1/60 s."""

from __future__ import annotations

import pytest

pytest.importorskip("trame_slicer", reason="trame-slicer is not installed: no views")

import slicer_host

from .conftest import MODULE

pytestmark = pytest.mark.render


@pytest.fixture(scope="module")
def drawing(opened):
    host = slicer_host.start(render=True)
    host.load_module(MODULE)
    panel = host.open_panel()
    panel.logic.show_study(opened, panel.parameters)
    panel.logic.predict()
    panel.refresh()
    host.settle()
    host.drawings.watch(host.layouts.views)
    yield host
    host.close()


def requests(host, change):
    host.settle()
    host.drawings.watch(host.layouts.views)
    change(host.widget)
    host.settle()
    return dict(host.drawings.count)


def chosen(name, choice):
    """Choose by name, as the panel's lists do."""

    def change(widget):
        kinds = type(getattr(widget.parameters, name))
        setattr(widget.parameters, name, kinds[choice])

    return change


CHANGES = {
    "threshold": lambda w: setattr(w.ui.thresholdSlider, "value", 1.0),
    "opacity": lambda w: setattr(w.ui.opacitySlider, "value", 0.5),
    "subregion, first": lambda w: setattr(w.ui.subregionSlider, "value", 0.4),
    "subregion": lambda w: setattr(w.ui.subregionSlider, "value", 0.6),
    "next lesion": lambda w: w.ui.nextLesionButton.click(),
    "class": chosen("shown", "RESPONSE"),
    "colors": chosen("colors", "HEAT"),
    "scale": chosen("scale", "LESION"),
    "graded": lambda w: setattr(w.ui.gradedCheckBox, "checked", True),
    "graded threshold": lambda w: setattr(w.ui.thresholdSlider, "value", 0.5),
    "wash": chosen("doseDisplay", "WASH"),
    "prescription": lambda w: setattr(w.ui.prescriptionSpinBox, "value", 21.0),
    "lines": chosen("doseDisplay", "LINES"),
    "defaults": lambda w: w.ui.resetHeatmapButton.click(),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_every_view_is_asked_to_draw_once_per_change(drawing, name):
    found = requests(drawing, CHANGES[name])
    assert set(found.values()) <= {1}, found
    if name not in ("prescription",):  # which shows nothing as long as the wash is on
        assert set(found) == {"Red", "Green", "Yellow"}


def test_leaving_the_views_alone_draws_nothing(drawing):
    assert requests(drawing, lambda w: w.refresh()) == {}
    drawing.leave()
    assert requests(drawing, lambda w: drawing.enter()) == {}
