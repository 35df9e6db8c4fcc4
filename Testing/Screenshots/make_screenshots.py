"""Render the pictures and the GIF of the documentation and the sample's thumbnail: panel in the stand-in, real views.

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


class Film:
    """Frames of the GIF: the panel on the left, the views of the present layout on the right."""

    def __init__(self, host) -> None:
        self._host, self._frames = host, []

    def take(self, caption: str, folder: Path, *, note: str) -> None:
        """Add the present state as a frame; the note stands in the place of a fourth view."""
        from PIL import Image, ImageDraw, ImageFont

        path = folder / "frame.png"
        self._host.screenshot(path)
        panel = Image.open(path).convert("RGB")
        path.unlink()
        views = [Image.fromarray(pixels(image)) for image in self._host.draw_views().values()]
        side = 390
        frame = Image.new(
            "RGB", (panel.width * 2 * side // panel.height + 2 * side + 3 * GAP, 2 * side + 46), (40, 40, 40)
        )
        draw = ImageDraw.Draw(frame)
        draw.text((12, 9), caption, fill=(255, 255, 255), font=ImageFont.load_default(22))
        panel = panel.resize((panel.width * 2 * side // panel.height, 2 * side), Image.Resampling.LANCZOS)
        frame.paste(panel, (0, 46))
        cells = [(panel.width + GAP + c * (side + GAP), 46 + r * side) for r in range(2) for c in range(2)]
        for view, (x, y) in zip(views, cells, strict=False):
            frame.paste(view.resize((side - GAP, side - GAP), Image.Resampling.LANCZOS), (x, y))
        x, y = cells[3]
        draw.multiline_text((x + 20, y + 60), note, fill=(220, 220, 220), font=ImageFont.load_default(20), spacing=12)
        self._frames.append(frame)

    def save(self, path: Path) -> None:
        """Write the GIF: two seconds for each frame, one palette."""
        from PIL import Image

        whole = Image.new("RGB", (self._frames[0].width, sum(frame.height for frame in self._frames)))
        for number, frame in enumerate(self._frames):
            whole.paste(frame, (0, number * frame.height))
        # Grays for the MR, and what colors there are: a common palette would tint the MR or lose the heatmap.
        values = np.asarray(whole).reshape(-1, 3)
        colored = values[np.ptp(values.astype(int), axis=1) > 30][None]
        colors = Image.fromarray(colored).quantize(156, method=Image.Quantize.MEDIANCUT).getpalette()[: 3 * 156]
        palette = Image.new("P", (1, 1))
        palette.putpalette([*(v for gray in np.linspace(0, 255, 100) for v in [round(gray)] * 3), *colors])
        frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in self._frames]
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=2200, loop=0, optimize=True)
        print(path.relative_to(ROOT), len(frames), "frames,", path.stat().st_size // 1000, "kB")


def main() -> None:
    """Load the sample, predict, and take the pictures."""
    folder = ROOT / "Docs" / "pages" / "images"
    host = slicer_host.start(render=True)
    host.load_module(ROOT / "RTResponseCAM" / "RTResponseCAM.py")
    panel = host.open_panel()
    panel.ui.loadSampleButton.click()
    host.wait()
    film = Film(host)
    panel.parameters.selectedLesion = "L1"
    host.settle()
    film.take(
        "1  Load a Gamma Knife study: MR, contours, dose",
        folder,
        note="Blue, green: isodoses\nYellow: contour of the lesion\n\nSynthetic study",
    )
    panel.ui.predictButton.click()
    host.wait()
    host.settle()
    film.take(
        "2  Predict: p(response) with interval, and a heatmap of the evidence",
        folder,
        note="Orange: evidence for non-response\nBlue: evidence for response\n\nThe map adds up to the prediction.",
    )
    panel.parameters.subregionThreshold = 0.5
    host.settle()
    film.take(
        "3  Contour a subregion: volume, dose, DVH",
        folder,
        note="Cyan: subregion, evidence above 0.5\n\nTable: volume and dose of it,\nand of the rest of the lesion",
    )
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
    host.settle()
    film.take(
        "4  Compare: isodoses, heatmap, registered follow-up",
        folder,
        note="Left: MR with isodoses\nRight: heatmap\nBelow: follow-up after 80 days\n\nResearch use only.",
    )
    film.save(folder / "panel.gif")
    host.close()


if __name__ == "__main__":
    main()
