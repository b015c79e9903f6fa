"""Networks among plain data: finding them and taking their parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from framework.importing.vocabulary import Instance, RefusedError

MAX_MODULES = 100_000
MAX_DEPTH = 64
MAX_NAME = 1024
_COMPILED = "_orig_mod"


def parameters(network: Instance) -> dict[str, Tensor]:
    """Return parameters and buffers by name, as `state_dict` has them, `_orig_mod` left out.

    Raises:
        RefusedError: a part is no network, or there are too many.
    """
    found: dict[str, Tensor] = {}
    for prefix, module in _walk(network):
        for kind in ("_parameters", "_buffers"):
            for name, value in _mapping(module, kind).items():
                if len(found) >= MAX_MODULES:
                    raise RefusedError(f"its networks have more than {MAX_MODULES} parameters")
                full = _joined(prefix, name)
                if isinstance(value, Tensor):
                    found[full] = value
                elif value is not None:
                    raise RefusedError(f"{full} is a {type(value).__name__} and no tensor")
    return found


def find_module(network: Instance, attribute: str) -> Instance | None:
    """Return the outermost part of a network that has an attribute, or None."""
    return next((m for _, m in _walk(network) if attribute in m.state), None)


def _walk(network: Instance) -> Iterator[tuple[str, Instance]]:
    """Yield every module with the prefix of its names, outer ones first."""
    waiting = [("", network, 0)]
    for _ in range(MAX_MODULES):
        if not waiting:
            return
        prefix, module, depth = waiting.pop(0)
        yield prefix, module
        if depth > MAX_DEPTH:
            raise RefusedError(f"its networks are nested more than {MAX_DEPTH} deep")
        parts = _mapping(module, "_modules")
        if len(waiting) + len(parts) > MAX_MODULES:
            break
        for name, part in parts.items():
            full = _joined(prefix, name)
            if isinstance(part, Instance):
                waiting.append((prefix if name == _COMPILED else f"{full}.", part, depth + 1))
            elif part is not None:
                raise RefusedError(f"{full} is a {type(part).__name__} and no network")
    raise RefusedError(f"its networks have more than {MAX_MODULES} parts")


def _joined(prefix: str, name: object) -> str:
    """Return a full name; a small file may refer to a long one again and again."""
    if not isinstance(name, str):
        raise RefusedError("its networks have names that are no texts")
    if len(prefix) + len(name) > MAX_NAME:
        raise RefusedError(f"its networks have names of more than {MAX_NAME} letters")
    return prefix + name


def _mapping(module: Instance, name: str) -> Mapping[str, object]:
    value = module.state.get(name, {})
    if not isinstance(value, dict):
        raise RefusedError(f"{name} of {module.class_name} is no dictionary")
    return value
