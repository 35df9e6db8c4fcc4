"""The safetensors format, read without its package: the same tensors, and nothing from a damaged file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.network.weights import read_weights


def test_tensors_are_those_that_the_package_wrote():
    torch.manual_seed(0)
    written = {
        "a": torch.randn(2, 3, 4),
        "b": torch.randn(7, dtype=torch.float64),
        "c": torch.arange(5),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "flags": torch.tensor([True, False]),
    }
    read = read_weights(save(written), Path("x"))
    assert read.keys() == written.keys()
    for name, value in written.items():
        assert read[name].dtype == value.dtype
        assert torch.equal(read[name], value)


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
