"""What sbatch refuses, in its own words and with the options that those are about."""

from __future__ import annotations

import re
from dataclasses import fields

from framework.grid.resources import Resources

_ABOUT = (
    (r"partition", ("partition",)),
    (r"account", ("account", "partition")),
    (r"qos", ("qos",)),
    (r"feature|constraint", ("constraint",)),
    (r"time", ("time",)),
    (r"memory|\bmem\b", ("mem",)),
    (r"generic resource|gres|gpu", ("gpus",)),
    (r"cpu|processor", ("cpus",)),
    (r"node count", ("nodes",)),
    (r"node configuration", ("nodes", "gpus", "cpus", "mem", "constraint")),
)
"""Words of sbatch's, and the fields of `Resources` that they may be about."""


def explained(error: BaseException, resources: Resources) -> str:
    """Return what sbatch said, and where what it speaks of was asked for.

    Args:
        error: submitit's, which wraps sbatch's words in a command line.
        resources: what was asked for.
    """
    words = _own_words(error)
    usual = {each.name: each.default for each in fields(Resources)}
    names = {
        name for pattern, about in _ABOUT if re.search(pattern, words, re.IGNORECASE)
        for name in about if getattr(resources, name) != usual[name]
    }  # fmt: skip
    options = [
        f"--{name} {getattr(resources, name)} or launch.{name}" for name in usual if name in names
    ]
    return f"sbatch refuses: {words}" + (f" (from {', '.join(options)})" if options else "")


def _own_words(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line.startswith(("sbatch:", "slurm"))]
    return " ".join(said or [line for line in lines if line][:2])
