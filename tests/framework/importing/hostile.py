"""What hostile pickles are made of, by the words of their refusal."""

import io
import pickle
import struct

import torch


def text(value):
    return b"\x8c" + bytes([len(value)]) + value.encode()


def number(value):
    return b"\x8a" + bytes([8]) + struct.pack("<q", value)


def binary(data):
    return b"B" + struct.pack("<I", len(data)) + data


def called(module, name, *arguments):
    """Pickle code of module.name(*arguments)."""
    return f"c{module}\n{name}\n(".encode() + b"".join(arguments) + b"tR"


def loaded(data):
    return called("torch.storage", "_load_from_bytes", binary(data))


def storage(values=3):
    stream = io.BytesIO()
    typed = torch.storage.TypedStorage(
        wrap_storage=torch.arange(float(values)).untyped_storage(),
        dtype=torch.float32,
        _internal=True,
    )
    torch.save(typed, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def view(offset, size, stride):
    def tuple_of(counts):
        return b"(" + b"".join(map(number, counts)) + b"t"

    arguments = (loaded(storage()), number(offset), tuple_of(size), tuple_of(stride), b"\x89N")
    return called("torch._utils", "_rebuild_tensor_v2", *arguments)


def touching(proof):
    """Pickle code of open(proof, "w"): what an attacker would put first."""
    return called("builtins", "open", text(str(proof)), text("w"))


def nested(code):
    """A storage's bytes, their description replaced by code of an attacker."""
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    return magic + b"\x80\x02" + code + b"." + pickle.dumps([], 2)


def in_record(code):
    """The code where a record's state has an attribute."""
    meta = b"(" + text("type") + text("class") + text("class_name") + text("X") + text("state")
    meta += b"(" + text("attribute") + code + b"dd"
    return called("torch_utils.persistence", "_reconstruct_persistent_obj", meta)


def in_module(code):
    """The code in the state of a torch.nn module."""
    made = b"ctorch.nn.modules.linear\nLinear\n)\x81"
    return made + b"(" + text("_parameters") + code + b"db"


def bomb(levels=60):
    """Tuples of two references each: 2^60 texts to whoever walks through them."""
    code = text("lol") + b"\x94"
    for level in range(levels):
        code += b"0(" + 2 * (b"h" + bytes([level])) + b"t\x94"
    return code


def typed(code):
    """Pickle code of a number of numpy's whose type has that code for its name."""
    made = b"cnumpy\ndtype\n(" + code + b"tR"
    return b"cnumpy.core.multiarray\nscalar\n(" + made + binary(b"x") + b"tR"


HOSTILE = {
    "builtins.open": touching,
    "posix.system": lambda p: called("posix", "system", text(f"touch {p}")),
    "builtins.eval": lambda p: called("builtins", "eval", text(f"open({str(p)!r}, 'w')")),
    "subprocess.Popen": lambda p: called("subprocess", "Popen", text(f"touch {p}")),
    "functools.partial": lambda p: called("functools", "partial", b"cposix\nsystem\n"),
    "builtins.getattr": lambda p: b"cbuiltins\ngetattr\n",
    "importlib.import_module": lambda p: called("importlib", "import_module", text("antigravity")),
    "torch.load": lambda p: called("torch", "load", text(str(p))),
    "torch._utils._rebuild_tensor_v2.__globals__": lambda p: (
        text("torch._utils") + text("_rebuild_tensor_v2.__globals__") + b"\x93"
    ),
    "torch.nn.modules_evil.X": lambda p: b"ctorch.nn.modules_evil\nX\n)\x81",
    "calls 'torch.nn.modules.linear.Linear'": lambda p: called(
        "torch.nn.modules.linear", "Linear", number(1)
    ),
    "makes 'torch.nn.modules.linear.Linear'": lambda p: (
        b"ctorch.nn.modules.linear\nLinear\n" + number(4) + b"\x85\x81"
    ),
    "calls something without a name": lambda p: text("x") + b")R",
    "asks for something without a name": lambda p: bomb() + text("x") + b"\x93",
    "a type without a name": lambda p: typed(bomb()),
    "the type 'f1', which is not read": lambda p: typed(text("f1")),
    "instruction INST": lambda p: b"(" + text("x") + b"iposix\nsystem\n",
    "instruction OBJ": lambda p: b"(ctorch.nn.modules.linear\nLinear\no",
    "instruction EXT1": lambda p: b"\x82\x01",
    "instruction EXT4": lambda p: b"\x84\x01\0\0\0",
    "instruction NEWOBJ_EX": lambda p: b"ctorch.nn.modules.linear\nLinear\n)}\x92",
    "instruction PERSID": lambda p: b"Pstorage\n",
    "instruction NEXT_BUFFER": lambda p: b"\x97",
    "instruction STRING": lambda p: b"S'x'\n",
    "persistent id": lambda p: text("x") + b"Q",
    "sets attributes of a Name": lambda p: (
        b"ctorch._utils\n_rebuild_tensor_v2\n}" + text("__code__") + b"Nsb"
    ),
    "sets attributes of a Tensor": lambda p: view(0, (3,), (1,)) + b"}b",
    "appends to a dict": lambda p: b"}" + text("x") + b"a",
    "sets items of a Instance": lambda p: b"ctorch.nn.modules.linear\nLinear\n)\x81NNs",
    "a tuple as a key": lambda p: b"}))s",
    "a list as a key": lambda p: b"\x8f(]\x90",
    "in a storage of 3 numbers": lambda p: view(0, (4,), (1,)),
    "(2,) in a storage of 3 numbers": lambda p: view(2, (2,), (1,)),
    "(1099511627776, 1099511627776)": lambda p: view(0, (1 << 40, 1 << 40), (0, 0)),
    "no proper shape": lambda p: view(0, (-1,), (1,)),
    "without a storage": lambda p: called(
        "torch._utils", "_rebuild_tensor_v2", text("x"), number(0), b"))"
    ),
    "arguments that do not fit": lambda p: called("torch._utils", "_rebuild_tensor_v2"),
    "not in the format of torch.save": lambda p: loaded(pickle.dumps(1, 2) * 5),
    "something that is not bytes": lambda p: called("torch.storage", "_load_from_bytes", text("x")),
    "in a storage of it: it asks for 'builtins.open'": lambda p: loaded(nested(touching(p))),
    "in a storage of it: it asks for 'builtins.eval'": lambda p: in_record(
        loaded(nested(called("builtins", "eval", text("1"))))
    ),
    "in a storage of it: it asks for 'torch.storage._load_from_bytes'": lambda p: loaded(
        nested(loaded(nested(touching(p))))
    ),
    "in a storage of it: it holds something else": lambda p: loaded(nested(b"}")),
    "1099511627776 numbers in": lambda p: loaded(
        nested(
            b"("
            + text("storage")
            + b"ctorch\nFloatStorage\n"
            + text("1")
            + text("cpu")
            + number(1 << 40)
            + b"tQ"
        ).removesuffix(pickle.dumps([], 2))
        + pickle.dumps(["1"], 2)
    ),
    "storage that is damaged": lambda p: loaded(storage()[:-3]),
    "encodes a text": lambda p: called("_codecs", "encode", text("x"), text("utf-7")),
    "without a class and a state": lambda p: called(
        "torch_utils.persistence", "_reconstruct_persistent_obj", b"}"
    ),
    "dictionary of something else": lambda p: called("collections", "OrderedDict", text("x")),
    "refers to an object": lambda p: b"h\x07",
    "stack": lambda p: b"0",
    "mark is missing": lambda p: b"t",
    "does not end with one object": lambda p: b"NN",
    "Exceeds the limit": lambda p: b"I" + b"9" * 9000 + b"\n",
    "bytes are announced": lambda p: b"\x8e" + struct.pack("<Q", 1 << 62) + b"x",
}
