"""Fixtures that make real data: phantom studies written as DICOM once per session, the shipped bundle, samples."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # workers that each take all cores wait for one another
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
        os.environ.setdefault(name, "1")

from RTResponseCAMLib.dicom.load import load_study
from RTResponseCAMLib.phantom.cohort import write_cohort
from RTResponseCAMLib.phantom.patient import sample_patient
from RTResponseCAMLib.phantom.spec import PhantomSpec, Variant
from RTResponseCAMLib.phantom.write import write_patient

ROOT = Path(__file__).parents[2]
os.environ.setdefault("RTRESPONSECAM_SALT", "of the tests")  # nothing is written into the home of who runs them
SMALL = {"columns": 116, "rows": 136, "slices": 80, "spacing_mm": (1.7, 1.5, 2.0)}  # pixels that are not square


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a test may skip only for a reason of the list; RTRESPONSECAM_REQUIRED names the tools that are there."""
    required = os.environ.get("RTRESPONSECAM_REQUIRED")
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if required is None or reporter is None or hasattr(session.config, "workerinput"):
        return
    missing = [(words, tool) for words, tool in MAY_SKIP if not tool or tool not in required.split()]
    reasons = {str(report.longrepr[2]) for report in reporter.stats.get("skipped", []) if report.longrepr}
    unknown = sorted(r for r in reasons if not any(words in r for words, _ in missing))
    for reason in unknown:
        print(f"\nA test skipped for a reason that CI does not accept: {reason}")
    if unknown:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files take turns from day to day where time is limited: what is left out today comes early another day."""
    if UNTIL is not None:
        day = int(UNTIL) // 86400
        items.sort(key=lambda item: hashlib.sha256(f"{day} {item.path.name}".encode()).hexdigest())


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin no slow test after RTRESPONSECAM_SLOW_UNTIL, seconds since 1970: CI has to end."""
    if UNTIL is not None and item.get_closest_marker("slow") and time.time() > float(UNTIL):
        pytest.skip(TIME_IS_UP)


UNTIL = os.environ.get("RTRESPONSECAM_SLOW_UNTIL")
TIME_IS_UP = "the time for slow tests is used up"

# Words of a reason, and the tool whose absence it is ("": nothing that can be installed).
MAY_SKIP = (
    ("real samples are absent", ""),  # data that must not be passed on with the project
    ("RTRESPONSECAM_SLICER_SOURCES", ""),  # Slicer's own sources
    ("dciodvfy is not installed", "dciodvfy"),
    ("pyradiomics is absent", "pyradiomics"),
    (TIME_IS_UP, ""),
)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first worker makes and the others wait for; read only."""
    parallel = "PYTEST_XDIST_WORKER" in os.environ
    root = factory.getbasetemp().parent if parallel else factory.mktemp("made")
    folder, done = root / name, root / f"{name}.done"
    try:
        (root / f"{name}.begun").touch(exist_ok=False)
    except FileExistsError:
        until = time.monotonic() + 300
        while not done.exists() and time.monotonic() < until:
            time.sleep(0.05)
        assert done.exists(), f"another worker did not finish {folder}"
        return folder
    make(folder)
    done.touch()
    return folder


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Coarse head, three lesions, one dose box, follow-up; ``dicom/`` and ``truth/``. Read only."""
    spec = PhantomSpec(seed=4, lesions=3, variant=Variant.DARKER, **SMALL)
    return made_once(tmp_path_factory, "phantom_study", lambda folder: write_patient(sample_patient(spec), folder))


@pytest.fixture(scope="session")
def study(study_folder: Path):
    return load_study(study_folder / "dicom")


@pytest.fixture
def own_study(study_folder: Path, tmp_path: Path) -> Path:
    """A copy of the study's DICOM folder that a test may damage."""
    return Path(shutil.copytree(study_folder / "dicom", tmp_path / "dicom"))


@pytest.fixture(scope="session")
def small_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six patients, eighteen lesions, both classes in most patients."""
    spec = PhantomSpec(seed=33, follow_up=False, **SMALL)

    def make(folder: Path) -> None:
        write_cohort(spec, 6, folder=folder, variants=(Variant.DARKER,), workers=1, total=18)

    return made_once(tmp_path_factory, "small_cohort", make)


@pytest.fixture(scope="session")
def bundle_folder() -> Path:
    from RTResponseCAMLib.models.card import default_bundle

    return default_bundle()


@pytest.fixture(scope="session")
def patches(study):
    """Lesions of the study as the network sees them."""
    from RTResponseCAMLib.imaging.patch import sample_patch
    from RTResponseCAMLib.imaging.resample import head_intensity

    head = head_intensity(study.mr)
    return [
        sample_patch(study.mr, head, structure=x.structure, dose=study.dose, prescription_gy=20.0)
        for x in study.lesions
    ]


@pytest.fixture(scope="session")
def shipped(bundle_folder: Path):
    from RTResponseCAMLib.models.bundle import load_bundle

    return load_bundle(bundle_folder, "cpu")


@pytest.fixture(scope="session")
def result(study, bundle_folder: Path):
    from RTResponseCAMLib.models.bundle import load_bundle
    from RTResponseCAMLib.workflow.predict import predict_study

    return predict_study(study, load_bundle(bundle_folder, "cpu"))


@pytest.fixture(scope="session")
def samples() -> Path:
    """Real DICOM files that no one here wrote; absent on most machines."""
    folder = Path(os.environ.get("RTRESPONSECAM_SAMPLES", ROOT.parent / "shared" / "samples"))
    if not folder.is_dir():
        pytest.skip(f"real samples are absent: no folder {folder} (set RTRESPONSECAM_SAMPLES)")
    return folder
