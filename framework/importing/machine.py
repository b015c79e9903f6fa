"""An interpreter of pickles that can only put together plain data.

A pickle is a program. Python's own unpickler imports what it names and calls it; this one keeps
names as names, looks each of them up in a short list, and never touches an attribute of anything.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Iterable
from typing import IO, cast

from framework.importing.vocabulary import Instance, Name, RefusedError, Vocabulary

MAX_OPCODES = 20_000_000
MAX_LINE = 1 << 16
SMALL = 1 << 20  # what any file may copy
_MARK = object()
_SIZED = (str, bytes, list, tuple, dict)
_SCALARS = (str, int, float, bytes, type(None))  # what may be a key: hashing goes no deeper


class _Bounded:
    """A file that never allocates more than it holds."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    def read(self, count: int) -> bytes:
        if count > 1 and count > self._left:
            raise ValueError(f"{count} bytes are announced and {self._left} are left")
        data = self._file.read(count)
        self._left -= len(data)
        return data

    def readline(self) -> bytes:
        line = self._file.readline(MAX_LINE)
        self._left -= len(line)
        return line


def run(file: IO[bytes], size: int, vocabulary: Vocabulary) -> object:
    """Return what the pickle at the file's position, of at most `size` bytes, describes.

    Raises:
        RefusedError: it is damaged, or asks for something that is not in the vocabulary.
    """
    machine = _Machine(vocabulary, SMALL + 4 * size)
    bounded = cast(IO[bytes], _Bounded(file, size))  # genops uses read and readline alone
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(bounded)):
            if count >= MAX_OPCODES:
                raise RefusedError(f"it has more than {MAX_OPCODES} instructions")
            machine.step(opcode.name, argument)
    except (ValueError, struct.error, OverflowError, EOFError) as error:
        reason = " ".join(str(error).split())[:120]
        raise RefusedError(f"it is damaged or no pickle: {reason}") from error
    return machine.result()


class _Machine:
    """The stack and memo of one pickle."""

    def __init__(self, vocabulary: Vocabulary, budget: int) -> None:
        self._vocabulary = vocabulary
        self._budget = budget
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}

    def result(self) -> object:
        if len(self._stack) != 1 or self._stack[0] is _MARK:
            raise RefusedError("it is damaged: it does not end with one object")
        return self._stack[0]

    def step(self, name: str, argument: object) -> None:
        """Do what one instruction says."""
        if name in _IGNORED:
            return
        if name in _LITERALS:
            self._stack.append(bytes(argument) if isinstance(argument, bytearray) else argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _MAKERS:
            self._stack.append(_MAKERS[name]())
        elif name in _ACTIONS:
            _ACTIONS[name](self, argument)
        else:
            raise RefusedError(f"it asks for the pickle instruction {name}, which is not read")

    def pop(self) -> object:
        if not self._stack or self._stack[-1] is _MARK:
            raise RefusedError("it is damaged: something is missing from its stack")
        return self._stack.pop()

    def top(self) -> object:
        if not self._stack or self._stack[-1] is _MARK:
            raise RefusedError("it is damaged: something is missing from its stack")
        return self._stack[-1]

    def marked(self) -> list[object]:
        """Take what lies above the last mark, and the mark."""
        for index in range(len(self._stack) - 1, -1, -1):
            if self._stack[index] is _MARK:
                items = self._stack[index + 1 :]
                del self._stack[index:]
                return items
        raise RefusedError("it is damaged: a mark is missing from its stack")

    def push(self, value: object) -> None:
        self._stack.append(value)

    def put(self, index: object) -> None:
        assert isinstance(index, int)
        self._memo[index] = self.top()

    def memoize(self, _: object) -> None:
        self._memo[len(self._memo)] = self.top()

    def get(self, index: object) -> None:
        assert isinstance(index, int)
        if index not in self._memo:
            raise RefusedError("it is damaged: it refers to an object that it has not made")
        self.push(self._memo[index])

    def append(self, items: list[object]) -> None:
        target = self.top()
        if type(target) is not list:
            raise RefusedError(f"it appends to a {type(target).__name__}")
        target.extend(items)

    def add(self, items: list[object]) -> None:
        target = self.top()
        if type(target) is not set:
            raise RefusedError(f"it adds to a {type(target).__name__}")
        target.update(_key(item) for item in items)

    def set_items(self, items: list[object]) -> None:
        target = self.top()
        if type(target) is not dict:
            raise RefusedError(f"it sets items of a {type(target).__name__}")
        target.update(_pairs(items))

    def name(self, module: str, name: str) -> None:
        """Push a name of the vocabulary."""
        full = f"{module}.{name}"
        if not self._vocabulary.knows(full):
            raise RefusedError(f"it asks for {_shown(full)}, which is not read")
        self.push(Name(full))

    def stack_name(self, _: object) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise RefusedError(f"it asks for {_shown('')}, which is not read")
        self.name(module, name)

    def call(self, _: object) -> None:
        """REDUCE: put a builder's result in the place of a call."""
        arguments, called = self.pop(), self.pop()
        if not isinstance(arguments, tuple):
            raise RefusedError("it calls something with no tuple of arguments")
        self.push(self._made(called, arguments))

    def make(self, _: object) -> None:
        """NEWOBJ: an instance of a class that is not called."""
        arguments, made = self.pop(), self.pop()
        full = made.full if isinstance(made, Name) else ""
        if full in self._vocabulary.mappings:
            self.push({})
        elif self._vocabulary.is_class(full) and arguments == ():
            self.push(Instance(full))
        else:
            raise RefusedError(f"it makes {_shown(full)}, which is not read")

    def _made(self, called: object, arguments: tuple[object, ...]) -> object:
        full = called.full if isinstance(called, Name) else ""
        builder = self._vocabulary.builders.get(full)
        if builder is None:
            raise RefusedError(f"it calls {_shown(full)}, which is not read")
        self._charge(arguments)
        try:
            return builder(*arguments)
        except TypeError as error:
            raise RefusedError(f"it calls {full} with arguments that do not fit") from error

    def _charge(self, items: Iterable[object]) -> None:
        """Count what is copied: a small file may refer to one large object again and again.

        Raises:
            RefusedError: it is out of proportion to the file.
        """
        self._budget -= sum(len(item) for item in items if isinstance(item, _SIZED))
        if self._budget < 0:
            raise RefusedError("it copies far more than it holds")

    def build(self, _: object) -> None:
        """BUILD: give an instance its attributes."""
        state, target = self.pop(), self.top()
        if isinstance(target, Instance) and isinstance(state, dict):
            self._charge([state])
            target.state.update((str(_key(k)), v) for k, v in state.items())
        elif isinstance(target, Instance) and isinstance(state, tuple):
            target.state["__setstate__"] = state
        elif type(target) is not dict:  # attributes of a dictionary's class are left out
            raise RefusedError(f"it sets attributes of a {type(target).__name__}")

    def persistent(self, _: object) -> None:
        identifier = self.pop()
        if self._vocabulary.persistent is None:
            raise RefusedError("it asks for a persistent id, which a file of this kind has not")
        self.push(self._vocabulary.persistent(identifier))


def _shown(name: str) -> str:
    return repr(name[:100]) if name else "something without a name"


def _key(value: object) -> object:
    if not isinstance(value, _SCALARS):
        raise RefusedError(f"it uses a {type(value).__name__} as a key")
    return value


def _pairs(items: list[object]) -> dict[object, object]:
    if len(items) % 2:
        raise RefusedError("it is damaged: a key without a value")
    return {_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _global(machine: _Machine, argument: object) -> None:
    module, _, name = str(argument).partition(" ")
    machine.name(module, name)


def _tuple_of(count: int) -> Callable[[_Machine, object], None]:
    def action(machine: _Machine, _: object) -> None:
        items = [machine.pop() for _ in range(count)]
        machine.push(tuple(reversed(items)))

    return action


_IGNORED = {"PROTO", "FRAME", "STOP"}
_LITERALS = {
    *("INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS: dict[str, object] = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
    "MARK": _MARK,
}
_MAKERS: dict[str, Callable[[], object]] = {
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_ACTIONS: dict[str, Callable[[_Machine, object], object]] = {
    "POP": lambda m, _: m.pop(),
    "POP_MARK": lambda m, _: m.marked(),
    "DUP": lambda m, _: m.push(m.top()),
    "TUPLE": lambda m, _: m.push(tuple(m.marked())),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "LIST": lambda m, _: m.push(m.marked()),
    "DICT": lambda m, _: m.push(_pairs(m.marked())),
    "FROZENSET": lambda m, _: m.push(frozenset(_key(i) for i in m.marked())),
    "APPEND": lambda m, _: m.append([m.pop()]),
    "APPENDS": lambda m, _: m.append(m.marked()),
    "ADDITEMS": lambda m, _: m.add(m.marked()),
    "SETITEM": lambda m, _: m.set_items([m.pop(), m.pop()][::-1]),
    "SETITEMS": lambda m, _: m.set_items(m.marked()),
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _global,
    "STACK_GLOBAL": _Machine.stack_name,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.make,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}
