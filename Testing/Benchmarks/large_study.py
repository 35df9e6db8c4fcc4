"""Histograms and predictions on a large study with hostile ROIs: processor seconds, peak memory, ratio to the reading.

    python Testing/Benchmarks/large_study.py

The study is that of ``Testing/Python/hostile_study.py``: 512 × 512 × 180 MR, 11 lesions, and nine ROIs such as a liver,
an outline drawn twice, and specks far apart. Every piece of work runs in a fresh process. The first row, which only
reads the study, is what the others are compared with: seconds alone say more of the machine than of the code.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "Python"))

from hostile_study import LIMIT_MB, histograms, measured, prediction, write_large_study

NAMES = ("specks", "liver", "outline twice 2 mm off", "lines")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = write_large_study(Path(place))
        rows = {"reading alone": measured(folder, "found = None", imports="")}
        rows["21 histograms, 11 targets"] = histograms(folder)
        for name in NAMES:
            rows[f"prediction: {name}"] = prediction(folder, name, out=Path(place) / f"out {name}")
    reading = rows["reading alone"]["seconds"]
    for name, row in rows.items():
        print(f"{name:36} {row['seconds']:6.1f} s {row['seconds'] / reading:6.1f} x {row['peak_mb']:6.0f} MB")
    print(f"every process may hold {LIMIT_MB} MB")


if __name__ == "__main__":
    main()
