"""The short list of names that a pickle of networks or of statistics may mention."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from framework.importing import machine, numpy_arrays, storages
from framework.importing.vocabulary import Builder, Instance, RefusedError, Vocabulary

RECORD = "torch_utils.persistence._reconstruct_persistent_obj"
MAX_BYTES = 64 << 30
_MODULES = ("torch.nn.modules.", "timm.layers.", "timm.models.")
_CLASSES = {"torch._dynamo.eval_frame.OptimizedModule"}
_MAPPINGS = frozenset({"dnnlib.util.EasyDict"})
_DTYPES = {f"torch.{d}" for d in ("float64", "float32", "float16", "bfloat16", "int64", "int32")}


def record(meta: object) -> Instance:
    """Return a persistent object of the release as an instance; its source is left unread.

    `meta` is {"type": "class", "version": ..., "module_src": ..., "class_name": ..., "state": ...}.
    """
    match meta:
        case {"type": "class", "class_name": str(name), "state": dict(state)}:
            return Instance(name, state)  # not copied: others may refer to it again and again
    raise RefusedError("it holds a persistent object without a class and a state")


def _ordered(pairs: object = ()) -> dict[object, object]:
    match pairs:
        case []:
            return {}
        case [*items] if all(isinstance(i, list | tuple) and len(i) == 2 for i in items):
            return dict(_pair(i) for i in items)
    raise RefusedError("it makes a dictionary of something else")


def _pair(item: object) -> tuple[object, object]:
    match item:
        case [str() | int() as key, value]:
            return key, value
    raise RefusedError("it makes a dictionary of something else")


def _set(items: object = ()) -> set[object]:
    match items:
        case [*members] if all(isinstance(m, str | int) for m in members):
            return set(members)
    raise RefusedError("it makes a set of something else")


def _encoded(text: object, encoding: object) -> bytes:
    """Return the bytes that Python 3 writes as a text in old protocols."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise RefusedError("it encodes a text in a way that is not read")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise RefusedError("it encodes a text in a way that is not read") from error


def _size(items: object = ()) -> tuple[object, ...]:
    if not isinstance(items, list | tuple):
        raise RefusedError("it describes a tensor with no proper shape")
    return tuple(items)


_ARRAYS: Mapping[str, Builder] = {
    "multiarray._reconstruct": numpy_arrays.empty,
    "multiarray.scalar": numpy_arrays.scalar,
    "numeric._frombuffer": numpy_arrays.from_buffer,
}
BUILDERS: Mapping[str, Builder] = {
    RECORD: record,
    "torch._utils._rebuild_tensor_v2": storages.tensor,
    "torch._utils._rebuild_parameter": storages.parameter,
    "torch.storage._load_from_bytes": storages.from_bytes,
    "torch.Size": _size,
    "torch.device": lambda *place: Instance("torch.device", {"place": place}),
    "collections.OrderedDict": _ordered,
    "builtins.set": _set,
    "__builtin__.set": _set,  # its name in old protocols
    "_codecs.encode": _encoded,
    "numpy.dtype": numpy_arrays.dtype,
    **{f"numpy.core.{name}": builder for name, builder in _ARRAYS.items()},
    **{f"numpy._core.{name}": builder for name, builder in _ARRAYS.items()},
}


def vocabulary(persistent: Builder | None = None) -> Vocabulary:
    """Return what a pickle of networks may mention."""
    return Vocabulary(
        BUILDERS,
        is_class=lambda name: name.startswith(_MODULES) or name in _CLASSES,
        is_constant=lambda name: (
            name in _DTYPES
            or name == numpy_arrays.NDARRAY
            or (persistent is not None and name in storages.STORAGES)
        ),
        mappings=_MAPPINGS,
        persistent=persistent,
    )


def read_pickle(path: Path) -> object:
    """Return what a pickle describes, as plain data.

    Raises:
        RefusedError: the file cannot be read, is damaged, or asks for what is not read.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise RefusedError(f"{path} has {size} bytes: more than {MAX_BYTES} are not read")
        with path.open("rb") as file:
            return machine.run(file, size, vocabulary())
    except OSError as error:
        raise RefusedError(f"{path}: cannot be read: {error.strerror}") from error
    except RefusedError as error:
        raise RefusedError(f"{path}: {error}") from error
