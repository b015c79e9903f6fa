"""The machinery of tvmlab. Knows no component by name."""

from typing import TYPE_CHECKING, Any

from framework.errors import UserError

if TYPE_CHECKING:
    from framework.registry import register

__all__ = ["UserError", "register"]


def __getattr__(name: str) -> Any:
    """Import the registries, and with them torch, only for those who register something."""
    if name == "register":
        from framework.registry import register

        return register
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
