"""Reading other people's pickles as data: nothing that a file names is imported or called.

`read_pickle` and `read_torch_save` give plain trees of dictionaries, lists, numbers, tensors and
`Instance`s; a file that asks for anything else is refused with the name of what it asked for.
"""

from framework.importing.archives import is_torch_save, read_torch_save
from framework.importing.modules import find_module, parameters
from framework.importing.names import read_pickle
from framework.importing.numpy_arrays import array
from framework.importing.vocabulary import Instance, Name, RefusedError

__all__ = [
    "Instance",
    "Name",
    "RefusedError",
    "array",
    "find_module",
    "is_torch_save",
    "parameters",
    "read_pickle",
    "read_torch_save",
]
