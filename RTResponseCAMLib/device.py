"""Name and free memory of the device that the classifier would use, without importing torch."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

GIB = 2**30
REQUIRED = {"torch": "torch>=2.6"}
FOR_REPORTS = {"matplotlib": "matplotlib>=3.8", "jinja2": "jinja2>=3.1"}
FOR_DICOM = {"highdicom": "highdicom>=0.27"}


def missing_packages(packages: dict[str, str]) -> tuple[str, ...]:
    """Requirement strings of the packages that are not installed."""
    return tuple(requirement for name, requirement in packages.items() if find_spec(name) is None)


def describe_device(name: str) -> str:
    """One line of text on the device that "auto", "cpu" or "cuda" selects."""
    gpu = _gpu()
    if name == "cuda":
        return gpu or "No CUDA device is available: choose Automatic or CPU."
    return gpu if name == "auto" and gpu else _cpu()


def preload_torch() -> None:
    """Load torch's shared libraries without holding Python's lock (GIL), so that a later import freezes no window.

    A plain import holds the lock for about a second, while a gigabyte of code is linked. Does nothing where
    preloading is not possible.
    """
    spec = find_spec("torch")
    if spec is None or not spec.submodule_search_locations or "torch" in sys.modules or os.name != "posix":
        return
    folder = Path(spec.submodule_search_locations[0]) / "lib"
    loader = ctypes.CDLL(None).dlopen  # a foreign call releases the lock; ctypes.CDLL(path) does not
    loader.restype, loader.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    for name in ("libtorch_global_deps", "libtorch_cpu", "libtorch", "libtorch_python"):
        for path in folder.glob(f"{name}.*"):
            loader(os.fsencode(path), os.RTLD_NOW | os.RTLD_LOCAL)


def _cpu() -> str:
    text = f"CPU, {os.cpu_count()} cores"
    free = _free_bytes()
    return f"{text}, {free / GIB:.1f} GB free" if free else text


def _free_bytes() -> int:
    if find_spec("psutil") is not None:
        import psutil

        return int(psutil.virtual_memory().available)
    if platform.system() == "Linux":
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 0


def _gpu() -> str:
    """Name and free memory of the first CUDA device that torch can use; "" when there is none."""
    if "torch" in sys.modules:
        torch = import_module("torch")  # waits where another thread is importing it
        if not torch.cuda.is_available():
            return ""
        free, total = torch.cuda.mem_get_info()
        return f"{torch.cuda.get_device_name()}, {free / GIB:.1f} of {total / GIB:.1f} GB free"
    if not _torch_may_use_cuda() or shutil.which("nvidia-smi") is None:
        return ""
    query = ["nvidia-smi", "--query-gpu=name,memory.free,memory.total", "--format=csv,noheader,nounits"]
    try:
        completed = subprocess.run(query, capture_output=True, text=True, timeout=5, check=True)
        gpu, free, total = (column.strip() for column in completed.stdout.splitlines()[0].split(","))
        return f"{gpu}, {float(free) / 1024:.1f} of {float(total) / 1024:.1f} GB free"
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return ""


def _torch_may_use_cuda() -> bool:
    from importlib import metadata  # takes 40 ms, which would delay the opening of the panel

    try:
        return not metadata.version("torch").endswith("+cpu")
    except metadata.PackageNotFoundError:
        return False
