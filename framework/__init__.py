"""The machinery of tvmlab. Knows no component by name."""

from framework.errors import UserError
from framework.registry import register

__all__ = ["UserError", "register"]
