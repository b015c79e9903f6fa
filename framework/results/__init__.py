"""What runs record: written so that a kill loses nothing, read as one tidy frame."""

from typing import TYPE_CHECKING, Any

from framework.results.layout import SCHEMA_VERSION, NewerSchemaError
from framework.results.reading import RunResults, read_run
from framework.results.records import Evaluation, RunConfig, SampleKey, Samples
from framework.results.storage import StorageError
from framework.results.stored import DamagedRunError, DamagedRunWarning
from framework.results.tensorboard import TensorBoardWriter
from framework.results.writer import RunWriter

if TYPE_CHECKING:
    from framework.results.frame import find_runs, load

__all__ = [
    "SCHEMA_VERSION",
    "DamagedRunError",
    "DamagedRunWarning",
    "Evaluation",
    "NewerSchemaError",
    "RunConfig",
    "RunResults",
    "RunWriter",
    "SampleKey",
    "Samples",
    "StorageError",
    "TensorBoardWriter",
    "find_runs",
    "load",
    "read_run",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Import what reads many runs, and with it pandas, only for those who read them."""
    if name in ("find_runs", "load"):
        from framework.results import frame

        return getattr(frame, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
