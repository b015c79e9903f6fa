"""Configurations as immutable data: gin files in, one fully explicit run out."""

from framework.configuration.bindings import Binding, Key
from framework.configuration.configuration import Configuration
from framework.configuration.parsing import Origin, parse_value
from framework.configuration.resolved import Resolved
from framework.configuration.resolving import explain_unused, unreached
from framework.configuration.values import Macro, Reference, Value, text

__all__ = [
    "Binding",
    "Configuration",
    "Key",
    "Macro",
    "Origin",
    "Reference",
    "Resolved",
    "Value",
    "explain_unused",
    "parse_value",
    "text",
    "unreached",
]
