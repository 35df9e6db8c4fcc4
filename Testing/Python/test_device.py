"""What is said of the device before anything runs, and what is missing; torch is never imported for it."""

from __future__ import annotations

import subprocess
import sys

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


def test_torch_still_imports_and_computes_after_its_libraries_were_loaded_early():
    code = (
        "from RTResponseCAMLib.device import preload_torch; preload_torch()\n"
        "import torch; print(float(torch.nn.functional.conv3d(torch.ones(1, 1, 3, 3, 3), torch.ones(1, 1, 3, 3, 3))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "27.0", done.stderr
