"""A large study with hostile but ordinary ROIs, and what a piece of work on it takes in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
from bodies import circle, rings
from quirks import add_roi, edit

from RTResponseCAMLib.phantom.patient import sample_patient
from RTResponseCAMLib.phantom.spec import PhantomSpec
from RTResponseCAMLib.phantom.write import write_patient

ROOT = Path(__file__).parents[2]
LIMIT_MB, HANGING_S = 2048, 600
# The limit is of the data that a process may hold, set before anything is imported.
PROGRAM = """
import json, resource, sys, time
resource.setrlimit(resource.RLIMIT_DATA, ({limit} * 2**20,) * 2)
from pathlib import Path
from RTResponseCAMLib.dicom.load import load_study
{imports}
started = time.process_time()
study = load_study(Path({folder!r}))
{work}
peak = next(int(x.split()[1]) for x in open("/proc/self/status") if x.startswith("VmHWM")) / 1024
print(json.dumps({{"seconds": time.process_time() - started, "peak_mb": peak, "found": found}}))
"""


SPECKS = [(-50, -60, -20), (50, -55, 30), (-45, 50, 40), (48, 45, -25), (0, 0, 50)]


def ball(radius, middle, step):
    return [ring + middle for ring in rings(radius, step)]


def write_large_study(folder: Path) -> Path:
    """Write a 512 × 512 × 180 MR, 11 lesions, and nine ROIs that used to take the machine down; its DICOM folder."""
    spec = PhantomSpec(
        seed=77, lesions=11, columns=512, rows=512, slices=180, spacing_mm=(0.5, 0.5, 1.0), follow_up=False
    )
    write_patient(sample_patient(spec), folder, truth=False)
    head = [circle(80.0, z) for z in np.arange(-70.0, 70.0, 1.0)]
    disc = ball(15.0, (20.0, 20.0, 0.0), 1.0)
    tilt = np.radians(20.0)
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    rois = {
        "specks": [c for middle in SPECKS for c in ball(1.7, middle, 0.5)],
        "specks tilted": [c @ turn.T for middle in SPECKS for c in ball(1.7, middle, 0.5)],
        "filled outline": head,
        "outline tilted": [c @ turn.T for c in head[::2]],
        "outline twice": [*disc, *(c[::2] for c in disc)],
        "outline twice 2 mm off": [*disc, *(c * np.array([0.93, 0.93, 1.0]) + [1.4, 1.4, 0.0] for c in disc)],
        "shell": [circle(r, z) for z in np.arange(-60.0, 61.0, 2.0) for r in (70.0, 69.4)],
        "liver": ball(65.0, (0.0, 10.0, 0.0), 3.0),
        "lines": [c for x in range(-60, 61, 4) for c in (circle(0.4, z, (float(x), 0.0), 12) for z in range(-60, 61))],
    }

    def alter(data):
        for name, contours in rois.items():
            add_roi(data, name, "ORGAN", contours)

    edit(folder / "dicom" / "plan_t1c" / "RS.dcm", alter)
    return folder / "dicom"


def histograms(folder: Path) -> dict:
    """Volumes of all structures from their histograms, cm³ by name, and what that took, see `measured`."""
    return measured(
        folder,
        "found = {h.name: h.volume_cc for h in measure_dose(study).histograms}",
        imports="from RTResponseCAMLib.workflow.dvh import measure_dose",
    )


def prediction(folder: Path, name: str, *, out: Path) -> dict:
    """Class and warning codes of the ROI ``name`` as the only target, written with its report; see `measured`."""
    return measured(
        folder,
        f"""
        lesion = next(s for s in study.structures if s.name == {name!r})
        study = replace(study, lesions=(Lesion("L1", replace(lesion, kind="GTV")),))
        result = predict_study(study, load_bundle(default_bundle(), "cpu"))
        write_result(result, Path({str(out)!r}))
        lesion = result.predictions[0]
        found = [lesion.label, *(w.code.value for w in lesion.warnings)]
        """,
        imports="from dataclasses import replace\n"
        "from RTResponseCAMLib.study import Lesion\n"
        "from RTResponseCAMLib.models.bundle import load_bundle\n"
        "from RTResponseCAMLib.models.card import default_bundle\n"
        "from RTResponseCAMLib.workflow.predict import predict_study\n"
        "from RTResponseCAMLib.workflow.write import write_result\n",
    )


def measured(folder: Path, work: str, *, imports: str) -> dict:
    """Run a piece of work on the study in a process that may hold `LIMIT_MB`: what it found, seconds, peak MB.

    The seconds are those of one processor, reading the study included, imports of the library not.
    """
    program = PROGRAM.format(limit=LIMIT_MB, folder=str(folder), work=textwrap.dedent(work), imports=imports)
    alone = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=HANGING_S, env=alone
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])
