"""Reading gin files as data, with gin's own parser and none of its global state."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gin import config_parser

from framework.configuration.values import Macro, Reference, Value, text
from framework.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
"""The repository: where `include` looks after the including file's own folder."""

COMMAND_LINE = "--set"


@dataclass(frozen=True)
class Origin:
    """Where a binding was written. `included`: in a file that another file includes."""

    file: str
    line: int = 0
    included: bool = False

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Assignment:
    """`scope/selector.argument = value`; a macro has no argument, its name is the selector."""

    scope: str
    selector: str
    argument: str
    value: Value
    origin: Origin


@dataclass(frozen=True)
class Import:
    """`import module`, and the folder of the file that says so."""

    module: str
    folder: Path | None
    origin: Origin


Statement = Assignment | Import


class _Delegate(config_parser.ParserDelegate):
    """Keeps references and macros as data."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Reference:
        scope, _, selector = scoped_configurable_name.rpartition("/")
        return Reference(scope, selector, evaluate)

    def macro(self, macro_name: str) -> Macro:
        return Macro(macro_name)


class _Parser(config_parser.ConfigParser):
    """gin's parser, but for dictionaries that would lose an entry without a word."""

    def __init__(self, source: io.StringIO) -> None:
        self._keys: list[list[Value]] = []  # of the containers that are open, outermost first
        super().__init__(source, _Delegate())

    def _maybe_parse_container(self) -> tuple[bool, Value]:
        self._keys.append([])
        parsed: tuple[bool, Value] = super()._maybe_parse_container()
        self._keys.pop()
        return parsed

    def _parse_dict_item(self) -> tuple[Value, Value]:
        location = self._current_location()
        key, value = super()._parse_dict_item()
        try:
            hash(key)
        except TypeError:
            self._raise_syntax_error(f"{text(key)} cannot be a key: write a text", location)
        if key in self._keys[-1]:
            self._raise_syntax_error(f"the key {text(key)} is there twice: remove one", location)
        self._keys[-1].append(key)
        return key, value


def read_file(path: Path) -> Iterator[Statement]:
    """Yield the statements of a gin file and of those that it includes, in order.

    Raises:
        UserError: a file is missing, unreadable, includes itself, or does not parse.
    """
    yield from _read(path, path, ())


def read_set(binding: str) -> Assignment:
    """Return the binding of a `--set`, such as "train.steps = 100".

    Raises:
        UserError: it is not one binding.
    """
    origin = Origin(COMMAND_LINE)
    statements = list(_parse(binding, f"{COMMAND_LINE} {binding!r}", one_line=True))
    if len(statements) == 1 and isinstance(statements[0], config_parser.BindingStatement):
        return _assignment(statements[0], origin)
    raise UserError(f"--set {binding!r}: write one binding, such as 'train.steps = 100'")


def parse_value(source: str) -> Value:
    """Return the value of a text in gin's syntax, such as "@losses.tvm()" or "(1, 2)".

    Raises:
        UserError: it does not parse.
    """
    return read_set(f"value = {source}").value


def _read(path: Path, shown: Path, including: tuple[Path, ...]) -> Iterator[Statement]:
    resolved = path.resolve()
    if resolved in including:
        chain = " -> ".join(p.name for p in (*including, resolved))
        raise UserError(f"{shown}: includes itself ({chain}): remove one of the includes")
    for statement in _parse(_contents(path, shown), str(shown)):
        line = statement.location.line_num
        origin = Origin(str(shown), line, included=bool(including))
        match statement:
            case config_parser.BindingStatement():
                yield _assignment(statement, origin)
            case config_parser.ImportStatement():
                yield Import(statement.module, resolved.parent, origin)
            case config_parser.IncludeStatement():
                found = _find_include(statement.filename, shown, origin)
                yield from _read(found, found, (*including, resolved))


def _contents(path: Path, shown: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        beside = path.parent if path.parent.is_dir() else None
        similar = sorted(p.name for p in beside.glob("*.gin")) if beside else []
        hint = f"; {path.parent}/ has {', '.join(similar[:8])}" if similar else ""
        raise UserError(f"{shown}: no such file{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"{shown}: cannot be read: {reason}") from error


def _find_include(filename: str, including: Path, origin: Origin) -> Path:
    tried = [including.parent / filename, ROOT / filename, ROOT / "gin" / filename]
    for path in tried:
        if path.is_file():
            return path
    places = ", ".join(dict.fromkeys(str(path) for path in tried))
    raise UserError(f"{origin}: nothing to include at '{filename}': tried {places}")


def _parse(
    source: str, name: str, one_line: bool = False
) -> Iterator[config_parser.BindingStatement]:
    """Yield gin's statements; `name` opens the messages, with the line unless `one_line`."""
    try:
        parser = _Parser(io.StringIO(source))
        while (statement := parser.parse_statement()) is not None:
            yield statement
    except SyntaxError as error:
        line, message = _line(error), _plain(error)
    except tokenize.TokenError as error:
        line, message = error.args[1][0], "a bracket or quote is not closed"
    except StopIteration:
        line, message = source.count("\n") + 1, "it ends in the middle of a statement"
    else:
        return
    raise UserError(f"{name if one_line else f'{name}:{line}'}: {message}")


def _line(error: SyntaxError) -> int:
    """Return the line of an error of the tokenizer's or of gin's, which passes a plain tuple."""
    location = error.args[1] if len(error.args) > 1 else (None, error.lineno)
    return location[1] or 1


def _plain(error: SyntaxError) -> str:
    """Return gin's complaint in one line and in the user's terms."""
    message = str(error.args[0])
    token = re.search(r"Failed to parse token '(.*)'", message, re.DOTALL)
    if token:
        return (
            f"cannot read {token[1]}: a text needs quotes, a component @, a macro %, "
            "and truth is True or False"
        )
    message = message.replace("Couldn't parse statement, expected ':' or '='.", "expected '='")
    return f"does not parse: {' '.join(message.split()).rstrip('.')}"


def _assignment(statement: config_parser.BindingStatement, origin: Origin) -> Assignment:
    return Assignment(
        statement.scope, statement.selector, statement.arg_name, statement.value, origin
    )
