"""Reading a large study: 512 × 512 × 180 MR, 12 ROIs, two RTDOSE; seconds and peak memory, each in a fresh process.

    python Testing/Benchmarks/reading.py [--repeats 5]

The study is a phantom of eleven lesions and the skull, written as DICOM with a dose box for each of two groups. The
import of the library is not counted, the reading of every file is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pydicom

from RTResponseCAMLib.dicom.files import save
from RTResponseCAMLib.phantom.patient import sample_patient
from RTResponseCAMLib.phantom.spec import PhantomSpec
from RTResponseCAMLib.phantom.write import write_patient

CODE = """
import json, sys, time
from pathlib import Path
from RTResponseCAMLib.dicom.load import load_study
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.fraction import box_fraction, structure_box
started = time.perf_counter()
study = load_study(Path(sys.argv[1]))
read = time.perf_counter() - started
for lesion in study.lesions:
    box_fraction(lesion.structure, structure_box(lesion.structure, Grid.of(study.mr)))
print(json.dumps({
    "read_s": read, "with_fraction_s": time.perf_counter() - started,
    "peak_mb": next(int(x.split()[1]) for x in open("/proc/self/status") if x.startswith("VmHWM")) / 1024,
    "size": study.mr.GetSize(), "rois": len(study.structures), "doses": len(study.dose.sources),
}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        spec = PhantomSpec(
            seed=77, lesions=11, columns=512, rows=512, slices=180, spacing_mm=(0.5, 0.5, 1.0), follow_up=False
        )
        write_patient(sample_patient(spec), folder, truth=False)
        _second_dose(folder / "dicom" / "plan_t1c" / "RD.dcm")
        rows = []
        for _ in range(options.repeats):
            done = subprocess.run(
                [sys.executable, "-c", CODE, str(folder / "dicom")], capture_output=True, text=True, check=True
            )
            rows.append(json.loads(done.stdout))
    first = rows[0]
    print(f"MR {first['size']}, {first['rois']} ROIs, {first['doses']} RTDOSE, {options.repeats} runs")
    for key in ("read_s", "with_fraction_s", "peak_mb"):
        found = sorted(row[key] for row in rows)
        print(f"{key}: median {np.median(found):.2f}, {found[0]:.2f} to {found[-1]:.2f}")


def _second_dose(path: Path) -> None:
    """A second box of the same plan: the right half of the first, which agrees with it where they overlap."""
    data = pydicom.dcmread(path)
    half = data.Columns // 2
    pixels = data.pixel_array[:, :, half:]
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID[:-2] + "99"
    origin = [float(c) for c in data.ImagePositionPatient]
    data.ImagePositionPatient = [f"{origin[0] + half * float(data.PixelSpacing[1]):.4f}", *map(str, origin[1:])]
    data.Columns, data.PixelData = pixels.shape[2], pixels.tobytes()
    save(data, path.with_name("RD2.dcm"))


if __name__ == "__main__":
    main()
