"""What runs record: written so that a kill loses nothing, read as one tidy frame."""

from framework.results.frame import find_runs, load
from framework.results.layout import SCHEMA_VERSION, NewerSchemaError
from framework.results.reading import RunResults, read_run
from framework.results.records import Evaluation, RunConfig, SampleKey, Samples
from framework.results.storage import StorageError
from framework.results.stored import DamagedRunError, DamagedRunWarning
from framework.results.writer import RunWriter

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
    "find_runs",
    "load",
    "read_run",
]
