"""The safetensors format, read without its package: the same tensors, and nothing from a damaged file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.models.weights import read_weights


def test_tensors_are_those_that_the_package_wrote():
    rng = np.random.default_rng(0)
    written = {
        "a": rng.normal(size=(2, 3, 4)).astype(np.float32),
        "b": rng.normal(size=7),
        "c": np.arange(5),
        "scalar": np.array(2.5, dtype=np.float32),
        "empty": np.zeros((0, 3), dtype=np.float32),
        "flags": np.array([True, False]),
    }
    read = read_weights(save(written), Path("x"))
    assert read.keys() == written.keys()
    for name, value in written.items():
        assert read[name].dtype == value.dtype
        assert np.array_equal(read[name], value)


def entry(**changes) -> bytes:
    header = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(8)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 16,
        entry(shape=[3]),
        entry(data_offsets=[0, 9]),
        entry(data_offsets=[-8, 0]),
        entry(data_offsets=[8, 16]),
        entry(dtype="PICKLE"),
        entry(shape="x"),
        entry()[:-4],
        (4).to_bytes(8, "little") + b"nope",
    ],
)
def test_a_damaged_file_is_refused(content):
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        read_weights(content, Path("weights.safetensors"))
