"""Draw the pictures of Resources/Screenshots and the sample's thumbnail: the panel in the stand-in, views for real.

Run from the repository's root: ``python Testing/Screenshots/make_screenshots.py``. Everything shown is synthetic.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "Testing" / "Python"), str(ROOT)]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import slicer_host  # noqa: E402

GAP = 6


def pixels(image) -> np.ndarray:
    """RGB picture, top row first."""
    from vtk.util.numpy_support import vtk_to_numpy

    width, height, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3]


def tile(rows: list[list[np.ndarray]]) -> np.ndarray:
    """Pictures of one size in rows, with a dark gap between them."""
    height, width = rows[0][0].shape[:2]
    whole = np.full((len(rows) * (height + GAP) - GAP, len(rows[0]) * (width + GAP) - GAP, 3), 40, dtype=np.uint8)
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            whole[r * (height + GAP) :, c * (width + GAP) :][:height, :width] = picture
    return whole


def save(picture: np.ndarray, path: Path) -> None:
    """Write a PNG."""
    from matplotlib.image import imsave

    imsave(path, np.ascontiguousarray(picture))
    print(path.relative_to(ROOT), picture.shape)


def main() -> None:
    """Load the sample, predict, and take the pictures."""
    folder = ROOT / "Resources" / "Screenshots"
    host = slicer_host.start(render=True)
    host.load_module(ROOT / "RTResponseCAM" / "RTResponseCAM.py")
    panel = host.open_panel()
    panel.ui.loadSampleButton.click()
    host.wait()
    panel.ui.predictButton.click()
    host.wait()
    panel.parameters.selectedLesion = "L1"
    panel.parameters.subregionThreshold = 0.5
    host.settle()
    host.screenshot(folder / "panel.png")
    panel.ui.createSegmentButton.click()
    views = {name: pixels(image) for name, image in host.draw_views().items()}
    panel.parameters.graded = True
    graded = pixels(host.draw_views()["Red"])
    panel.parameters.graded = False
    save(tile([[views["Red"], graded], [views["Green"], views["Yellow"]]]), folder / "four_up.png")
    panel.parameters.legend = False
    thumbnail = pixels(host.draw_views()["Red"])[70:350, 80:340]
    panel.parameters.legend = True
    save(thumbnail, ROOT / "RTResponseCAM" / "Resources" / "Icons" / "RTResponseCAMSample.png")
    panel.ui.sideBySideButton.checked = True
    save(tile([[pixels(image) for image in host.draw_views().values()]]), folder / "side_by_side.png")
    host.close()


if __name__ == "__main__":
    main()
