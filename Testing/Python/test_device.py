"""What is said of the device before anything runs, and what is missing; torch is never imported for it."""

from __future__ import annotations

import importlib
import subprocess
import sys
import threading
import time

import pytest

from RTResponseCAMLib.device import describe_device, missing_packages


def test_the_cpu_is_told_with_cores_and_free_memory():
    text = describe_device("cpu")
    assert text.startswith("CPU, ")
    assert float(text.split(", ")[2].removesuffix(" GB free")) > 0


def test_missing_packages_are_named_by_requirement():
    assert missing_packages({"json": "json", "no_such_package_here": "no-such>=2"}) == ("no-such>=2",)


@pytest.mark.parametrize("call", ["describe_device('auto')", "describe_device('cuda')", "preload_torch()"])
def test_torch_is_not_imported(call):
    code = f"import sys; from RTResponseCAMLib.device import *; {call}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.slow
def test_torch_still_imports_and_computes_after_its_libraries_were_loaded_early():
    code = (
        "from RTResponseCAMLib.device import preload_torch; preload_torch()\n"
        "import torch; print(float(torch.nn.functional.conv3d(torch.ones(1, 1, 3, 3, 3), torch.ones(1, 1, 3, 3, 3))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "27.0", done.stderr


def test_a_torch_that_another_thread_is_importing_is_waited_for(tmp_path, monkeypatch):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(
        "import time\ntime.sleep(0.5)\nclass cuda:\n    is_available = staticmethod(lambda: False)\n"
    )
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    importing = threading.Thread(target=lambda: importlib.import_module("torch"))
    importing.start()
    while "torch" not in sys.modules:
        time.sleep(0.001)
    assert not hasattr(sys.modules["torch"], "cuda")
    assert describe_device("auto").startswith("CPU")
    importing.join()
