"""Reading IDX files, the format of MNIST and its relatives."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from framework import UserError

_UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> Tensor:
    """Return the array of an IDX file of unsigned bytes, gzip-compressed or not, as uint8.

    Raises:
        UserError: the file is damaged or of another format.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != _UNSIGNED_BYTE:
        raise UserError(f"{path} is not an IDX file of unsigned bytes")
    axes = data[3]
    start = 4 + 4 * axes
    if len(data) < start:
        raise UserError(f"{path} is damaged: it ends within its header")
    shape = tuple(np.frombuffer(data[4:start], dtype=">u4").tolist())
    if len(data) - start != math.prod(shape):
        raise UserError(f"{path} is damaged: it holds {len(data) - start} bytes for {shape}")
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy())
