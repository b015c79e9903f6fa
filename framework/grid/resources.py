"""What a run needs of a cluster: `launch.*` in gin files, options on the command line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from framework.configuration.roots import register_root
from framework.settings import NonNegativeInt, PositiveInt

_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)([KMGT]?)B?", re.IGNORECASE)
_POWERS = "KMGT"


@dataclass(frozen=True)
class Resources:
    """Resources of one run's job, in SLURM's terms; None leaves it to the cluster.

    An arm that binds some of these gets a job array of its own. They are no part of a run's
    identity.

    Args:
        time: The limit of one attempt, as sbatch writes it; a run that needs longer is requeued
            and goes on.
        gpus: Devices per node.
        processes: Processes per node that train a run together; None: one a device.
        cpus: Cores per process.
        mem: Memory per node, such as '32G'.
        gpu_memory: Memory of a GPU, such as '80G': runs that need more are found out beforehand.
        max_parallel: How many jobs of an array run at a time.
        runs_per_job: How many runs share a job, and run at a time in it.
        requeues: How often a job may begin again, after a time limit, a preemption or the loss of
            a node; then its runs count as failed.
        setup: Shell commands before the program.
        prefix: What stands before Python in the job, such as 'apptainer exec --nv image.sif'.

    Raises:
        ValueError: a field has the wrong form.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: str = "1-00:00:00"
    nodes: PositiveInt = 1
    gpus: NonNegativeInt = 0
    processes: PositiveInt | None = None
    cpus: PositiveInt | None = None
    mem: str | None = None
    gpu_memory: str | None = None
    max_parallel: PositiveInt = 256
    runs_per_job: PositiveInt = 1
    requeues: NonNegativeInt = 100
    setup: list[str] = field(default_factory=list)
    prefix: str = ""

    def __post_init__(self) -> None:
        if self.minutes < 1:
            raise ValueError(f"time = {self.time!r} is less than a minute")
        for name in ("mem", "gpu_memory"):
            amount = getattr(self, name)
            if amount is not None and not _MEMORY.fullmatch(amount):
                raise ValueError(f"{name} = {amount!r} is no amount of memory: write '32G', say")
        if self.processes and self.gpus and self.processes != self.gpus:
            raise ValueError(
                f"processes = {self.processes} and gpus = {self.gpus}: each has one GPU; "
                "leave processes out"
            )
        if self.runs_per_job > 1 and self.processes_per_run > 1:
            raise ValueError(
                f"runs_per_job = {self.runs_per_job}: runs that share a job train in one process "
                f"each, and these would in {self.processes_per_run}"
            )

    @property
    def processes_per_node(self) -> int:
        """Return how many processes a run has on each node."""
        return self.processes or max(1, self.gpus)

    @property
    def processes_per_run(self) -> int:
        """Return how many processes train a run together."""
        return self.nodes * self.processes_per_node

    @property
    def gpu_bytes(self) -> int:
        """Return `gpu_memory` in bytes, of 1024 to a K; megabytes without a unit; 0 if not set."""
        found = _MEMORY.fullmatch(self.gpu_memory or "0")
        if found is None:
            return 0
        power = 1 + _POWERS.index(found[2].upper() or "M")
        return int(float(found[1]) * 1024**power)

    @property
    def minutes(self) -> int:
        """Return the time limit in minutes: '90', '24:00:00' or '2-00:00:00'.

        Raises:
            ValueError: it is written in another way.
        """
        found = _TIME.fullmatch(self.time)
        if found is None:
            raise ValueError(
                f"time = {self.time!r} is no time: write MINUTES, H:MM:SS or D-HH:MM:SS"
            )
        days, first, second, third = (int(part or 0) for part in found.groups())
        if found[1] is not None:  # D-HH, D-HH:MM, D-HH:MM:SS
            return (days * 24 + first) * 60 + second + (third > 0)
        if found[4] is not None:  # HH:MM:SS
            return first * 60 + second + (third > 0)
        return first + (second > 0)  # MM, MM:SS


register_root("launch", Resources, identity=False, kept=False)
