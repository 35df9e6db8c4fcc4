"""How quick the panel is: opening, sample to heatmap, sliders, and how long the event loop is ever kept waiting.

Run from the repository's root: ``python Testing/Benchmarks/panel.py [FOLDER]``; with a folder, that study is loaded in
place of the sample. In the stand-in application, without a GPU; rendering is off, so slider figures are the program's
share, not the views'. How often views are asked to draw: ``Testing/Python/gui/test_drawing.py``.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "Testing" / "Python"), str(ROOT)]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
OPEN = (
    "import sys, time; sys.path[:0] = ['Testing/Python']; import slicer_host; from pathlib import Path\n"
    "host = slicer_host.start(); start = time.perf_counter()\n"
    "host.load_module(Path('RTResponseCAM/RTResponseCAM.py').resolve()); host.open_panel()\n"
    "print(time.perf_counter() - start, 'torch' in sys.modules)"
)


def opening(runs: int = 5) -> str:
    """Import and setup in fresh processes."""
    found = []
    for _ in range(runs):
        done = subprocess.run([sys.executable, "-c", OPEN], capture_output=True, text=True, cwd=ROOT, check=True)
        seconds, torch = done.stdout.split()[-2:]
        assert torch == "False"
        found.append(float(seconds))
    return f"import + setup           median {statistics.median(found):.3f} s  (of {runs}; limit 0.3)"


def median_ms(change, values) -> float:
    """Median time of a change over some values, ms."""
    times = []
    for value in values:
        start = time.perf_counter()
        change(value)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    print(opening())
    import slicer_host

    host = slicer_host.start()
    host.load_module(ROOT / "RTResponseCAM" / "RTResponseCAM.py")
    panel = host.open_panel()
    start = time.perf_counter()
    if sys.argv[1:]:
        panel.study.load_folder(Path(sys.argv[1]))
    else:
        panel.ui.loadSampleButton.click()
    longest = host.wait()
    loaded = time.perf_counter() - start
    panel.ui.predictButton.click()
    longest_predict = host.wait()
    assert panel.parameters.camVolume is not None
    waited = f"event loop waited at most {1000 * longest:.0f} ms  (limit 200)"
    print(f"load, first time         {loaded:.1f} s, {waited}")
    print(f"sample to heatmap        {time.perf_counter() - start:.1f} s  (limit 15)")
    print(f"predict, first time      event loop waited at most {1000 * longest_predict:.0f} ms  (limit 200)")
    host.settle()
    panel.ui.predictButton.click()
    print(f"predict, second time     event loop waited at most {1000 * host.wait():.0f} ms")
    with tempfile.TemporaryDirectory() as folder:
        panel.ui.exportPathLineEdit.currentPath = folder
        panel.refresh()
        start = time.perf_counter()
        panel.ui.exportButton.click()
        waited = f"event loop waited at most {1000 * host.wait():.0f} ms  (limit 200)"
        print(f"export                   {time.perf_counter() - start:.1f} s, {waited}")
    steps = [-2 + 0.1 * n for n in range(40)]
    threshold = median_ms(lambda v: setattr(panel.ui.subregionSlider, "value", v), steps)
    print(f"subregion slider         median {threshold:.1f} ms  (limit 50)")
    opacity = median_ms(lambda v: setattr(panel.ui.opacitySlider, "value", v), [0.1 + 0.02 * n for n in range(40)])
    print(f"opacity slider           median {opacity:.1f} ms  (limit 20)")
    threshold = median_ms(lambda v: setattr(panel.ui.thresholdSlider, "value", v), [0.05 * n for n in range(40)])
    print(f"heatmap threshold        median {threshold:.1f} ms  (limit 50)")
    panel.parameters.graded = True
    threshold = median_ms(lambda v: setattr(panel.ui.thresholdSlider, "value", v), [0.05 * n for n in range(40)])
    print(f"heatmap threshold graded median {threshold:.1f} ms")
    host.close()


if __name__ == "__main__":
    main()
