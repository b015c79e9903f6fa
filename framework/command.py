"""What the programs in launch/ share: arguments, and how they end."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from framework.errors import UserError

if TYPE_CHECKING:
    from framework.configuration import Configuration

USAGE_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as a shell has it


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors take one line."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and exit with 2."""
        self.exit(USAGE_ERROR, f"{self.prog}: {message} (--help lists the options)\n")


def parser(description: str) -> Parser:
    """Return a parser that knows no abbreviated options."""
    return Parser(
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_configuration_arguments(to: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add --gin, --set and --plugin, each repeatable."""
    to.add_argument(
        "--gin",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        required=required,
        help="a gin file; later ones override earlier ones",
    )
    to.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="BINDING",
        help="a binding as in a gin file, such as 'train.steps = 100'; overrides the files",
    )
    add_plugin_argument(to)


def add_plugin_argument(to: argparse.ArgumentParser) -> None:
    """Add --plugin, repeatable."""
    to.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module with components: its name, a .py file, or a folder",
    )


def positive(text: str) -> int:
    """Return a positive number out of an argument, or say that it is none."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def weight(text: str) -> float:
    """Return a guidance weight out of an argument, or say that it is none."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value


def configuration(arguments: argparse.Namespace) -> Configuration:
    """Return the configuration that --gin, --set and --plugin describe.

    Raises:
        UserError: it cannot be read.
    """
    from framework.configuration import Configuration  # imports torch, which not all programs need

    return Configuration.load(arguments.gin, arguments.set, arguments.plugin)


def main(program: Callable[[], int | None]) -> NoReturn:
    """Run a program and exit with what it returns, or with 2 after printing a UserError.

    Anything else that goes wrong is a bug and shows its traceback.
    """
    _leave_script_folder()
    try:
        code = program() or 0
        sys.stdout.flush()
    except UserError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        code = USAGE_ERROR
    except KeyboardInterrupt:
        print(f"{Path(sys.argv[0]).name}: interrupted", file=sys.stderr)
        code = INTERRUPTED
    except BrokenPipeError:  # a reader such as `head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


def _leave_script_folder() -> None:
    """Take launch/ off the import path: its components.py is not the package `components`."""
    folder = Path(sys.argv[0]).resolve().parent
    if folder.name == "launch" and sys.path and Path(sys.path[0]).resolve() == folder:
        del sys.path[0]
