"""NumPy arrays and numbers of a pickle."""

from __future__ import annotations

import math

import numpy as np

from framework.importing.vocabulary import Instance, Name, RefusedError

_CODES = frozenset(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"])
_MAX_AXES = 8
DTYPE = "numpy.dtype"
NDARRAY = "numpy.ndarray"


def dtype(code: object, *_: object) -> Instance:
    """Return the stand-in of numpy.dtype("f8", False, True); its BUILD brings the byte order."""
    return Instance(DTYPE, {"code": code})


def empty(kind: object, *_: object) -> Instance:
    """Return the stand-in of an array before its BUILD brings shape, type and bytes."""
    if kind != Name(NDARRAY):
        raise RefusedError("it makes an array of a class that is not read")
    return Instance(NDARRAY)


def scalar(kind: object, data: object = b"") -> object:
    """Return a number, as numpy's `scalar` has it."""
    values = _decoded(kind, data)
    if values.size != 1:
        raise RefusedError("it describes a number that is none")
    return values[0].item()


def from_buffer(data: object, kind: object, shape: object, order: object = "C") -> Instance:
    """Return the stand-in of an array of protocol 5 whose bytes are in the pickle."""
    return Instance(NDARRAY, {"__setstate__": (1, shape, kind, order == "F", data)})


def array(value: object) -> np.ndarray:
    """Return the array that a stand-in describes.

    Raises:
        RefusedError: it is no array of plain numbers.
    """
    if not isinstance(value, Instance) or value.class_name != NDARRAY:
        raise RefusedError(f"an array is wanted, and it holds a {type(value).__name__}")
    match value.state.get("__setstate__"):
        case (int(), tuple() as shape, kind, fortran, data):
            flat = _decoded(kind, data)
            sizes = tuple(n for n in shape if type(n) is int and 0 <= n <= flat.size)
            if len(sizes) == len(shape) <= _MAX_AXES and math.prod(sizes) == flat.size:
                return flat.reshape(sizes, order="F" if fortran else "C")
    raise RefusedError("it holds an array whose shape does not fit its numbers")


def _decoded(kind: object, data: object) -> np.ndarray:
    """Return bytes as numbers (N,) of a type that holds no objects."""
    if not isinstance(kind, Instance) or kind.class_name != DTYPE or not isinstance(data, bytes):
        raise RefusedError("it holds an array without numbers")
    code, order = kind.state.get("code"), "="
    match kind.state.get("__setstate__"):
        case (int(), str(order), *_):
            pass
    if not isinstance(code, str):
        raise RefusedError("it holds an array of a type without a name")
    if code not in _CODES or order not in ("<", ">", "=", "|"):
        raise RefusedError(f"it holds an array of the type {code!r:.40}, which is not read")
    numbers = np.dtype(f"{'=' if order == '|' else order}{code}")
    if len(data) % numbers.itemsize:
        raise RefusedError("it holds an array that is cut short")
    return np.frombuffer(data, numbers)
