"""Read weights in the safetensors format without the safetensors package, which 3D Slicer does not include.

File layout: eight bytes with the length of the header, a JSON header (name → dtype, shape, offsets), and raw
little-endian values.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from RTResponseCAMLib.errors import ModelError

DTYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}
MAX_HEADER = 2**20


def read_weights(content: bytes, path: Path) -> dict[str, npt.NDArray[Any]]:
    """Arrays by name. No code of the file is executed; sizes are checked before values are read.

    Raises
    ------
    ModelError : the header or one of its entries does not fit the file.
    """
    try:
        length = int.from_bytes(content[:8], "little")
        if not 2 <= length <= min(MAX_HEADER, len(content) - 8):
            raise ValueError("the length of the header is wrong")
        header: dict[str, Any] = json.loads(content[8 : 8 + length].decode("utf-8"))
        header.pop("__metadata__", None)
        values = memoryview(content)[8 + length :]
        return {name: _array(values, entry) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(path, f"is not a readable safetensors file ({error})", "Restore the bundle") from error


def _array(values: memoryview, entry: dict[str, Any]) -> npt.NDArray[Any]:
    dtype = np.dtype(DTYPES[entry["dtype"]])
    shape = tuple(int(n) for n in entry["shape"])
    begin, end = (int(n) for n in entry["data_offsets"])
    if not 0 <= begin <= end <= len(values) or end - begin != dtype.itemsize * int(np.prod(shape, dtype=np.int64)):
        raise ValueError("an entry of the header does not fit its bytes")
    return np.frombuffer(values[begin:end], dtype=dtype).reshape(shape).copy()
