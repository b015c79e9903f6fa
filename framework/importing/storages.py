"""Tensors of a pickle: flat storages and the views of them."""

from __future__ import annotations

import io
import pickle
from functools import reduce
from operator import mul

import torch
from torch import Tensor

from framework.importing import machine
from framework.importing.vocabulary import Name, RefusedError, Vocabulary

_MAX_AXES = 8
_MAGIC_PICKLES = 3  # of a storage's bytes: a magic number, the protocol, the system's sizes
_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
STORAGES = {
    f"torch.{name}Storage": dtype
    for name, dtype in {
        "Double": torch.float64,
        "Float": torch.float32,
        "Half": torch.float16,
        "BFloat16": torch.bfloat16,
        "Long": torch.int64,
        "Int": torch.int32,
        "Short": torch.int16,
        "Char": torch.int8,
        "Byte": torch.uint8,
        "Bool": torch.bool,
    }.items()
}


class Storage:
    """Numbers of one type in a row, (N,)."""

    __slots__ = ("flat",)

    def __init__(self, flat: Tensor) -> None:
        self.flat = flat


def tensor(
    storage: object,
    offset: object,
    size: object,
    stride: object,
    requires_grad: object = False,
    hooks: object = None,
    metadata: object = None,
) -> Tensor:
    """Return a view of a storage, as `torch._utils._rebuild_tensor_v2` has it.

    Raises:
        RefusedError: the view reaches beyond the storage, or repeats its numbers.
    """
    sizes, strides = _counts(size), _counts(stride)
    (start,) = _counts((offset,))
    if not isinstance(storage, Storage) or len(sizes) != len(strides):
        raise RefusedError("it describes a tensor without a storage that fits")
    held, numbers = len(storage.flat), reduce(mul, sizes, 1)
    last = start + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
    if numbers > held or (numbers and last >= held):
        raise RefusedError(f"it describes a tensor {sizes} in a storage of {held} numbers")
    return storage.flat.as_strided(sizes, strides, start)


def parameter(data: object, requires_grad: object = True, hooks: object = None) -> Tensor:
    """Return the tensor of a parameter, as `torch._utils._rebuild_parameter` has it."""
    if not isinstance(data, Tensor):
        raise RefusedError("it describes a parameter without a tensor")
    return data


def _counts(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple | list) or len(value) > _MAX_AXES:
        raise RefusedError("it describes a tensor with no proper shape")
    counts = tuple(n for n in value if type(n) is int and 0 <= n < 1 << 48)
    if len(counts) != len(value):
        raise RefusedError("it describes a tensor with no proper shape")
    return counts


def described(identifier: object) -> tuple[torch.dtype, str, int]:
    """Return type, key and length of a storage from ('storage', type, key, place, length, ...).

    Raises:
        RefusedError: it says something else.
    """
    match identifier:
        case ("storage", Name(full), str(key), str(), int(length), *_):
            if full in STORAGES and 0 <= length < 1 << 48:
                return STORAGES[full], key, length
    raise RefusedError("it asks for something that is no storage of numbers")


def from_bytes(data: object) -> Storage:
    """Return the storage that `torch.storage._load_from_bytes` would load, without its door.

    The bytes are a torch.save of their own. What they mention is checked, then torch reads them
    with weights_only=True.

    Raises:
        RefusedError: they are damaged or hold anything but one storage.
    """
    if not isinstance(data, bytes):
        raise RefusedError("it loads a storage from something that is not bytes")
    try:
        dtype, length = _announced(data)
    except RefusedError as error:
        raise RefusedError(f"in a storage of it: {error}") from error
    if length * dtype.itemsize > len(data):
        raise RefusedError(f"it announces a storage of {length} numbers in {len(data)} bytes")
    try:
        loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise RefusedError("it holds a storage that is damaged") from error
    if not isinstance(loaded, torch.storage.TypedStorage) or loaded.dtype != dtype:
        raise RefusedError("it holds something that is no storage")
    return Storage(torch.empty(0, dtype=dtype).set_(loaded))


def _announced(data: bytes) -> tuple[torch.dtype, int]:
    """Return type and length of the one storage that bytes in torch's old format announce."""
    storage_only = Vocabulary({}, _never, STORAGES.__contains__, persistent=described)
    plain = Vocabulary({}, _never, _never)
    file = io.BytesIO(data)
    first = [machine.run(file, len(data) - file.tell(), plain) for _ in range(_MAGIC_PICKLES)]
    if first[0] != _MAGIC_NUMBER:
        raise RefusedError("it is not in the format of torch.save")
    match machine.run(file, len(data) - file.tell(), storage_only):
        case (torch.dtype() as dtype, str(key), int(length)):
            if machine.run(file, len(data) - file.tell(), plain) == [key]:
                return dtype, length
    raise RefusedError("it holds something else")


def _never(name: str) -> bool:
    return False
