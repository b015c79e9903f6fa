"""Run an ablation grid: on SLURM where there is one, in local processes elsewhere.

python launch/slurm.py --gin gin/ablations/quickstart.gin --dry-run
python launch/slurm.py --gin gin/ablations/quickstart.gin --executor local --wait
python launch/slurm.py --gin FILE --partition gpu --gpus 1 --time 4:00:00
python launch/slurm.py --gin FILE --partition gpu --nodes 2 --gpus 8   # 16 processes a run

Every cell is checked before anything is submitted. Launching again runs only what is missing.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from framework import command
from framework.configuration import Configuration
from framework.grid.plan import plan
from framework.launching import checking, executors, presenting, processes
from framework.launching.clean import CleanProcess
from framework.launching.decisions import RETRIES, decide
from framework.launching.launch import Options, launch

FAILED = 1


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = command.parser(__doc__ or "")
    command.add_configuration_arguments(parser)
    add = parser.add_argument
    add("--executor", choices=executors.EXECUTORS, default="auto")
    add("--output", type=Path, metavar="DIR", help="the grid's folder (default: runs/NAME)")
    add("--dry-run", action="store_true", help="check every cell, show the table, and stop")
    add("--no-probe", action="store_true", help="do not train every arm for three small updates "
        "to see that it differs")  # fmt: skip
    add("--wait", action="store_true", help="stay and watch, then print the ranking")
    add("--retry", choices=RETRIES, help="also run cells that failed, diverged, or whose code has "
        "changed since")  # fmt: skip
    add("--parallel", type=command.positive, metavar="N", help="local runs at a time (default: 2, "
        "or one a GPU)")  # fmt: skip
    add("--fail-fast", action="store_true", help="one failed run stops the others")
    add("--budget", type=_hours, metavar="HOURS", help="refuse to start runs that need more: GPU "
        "hours, or hours of runs without GPUs")  # fmt: skip
    cluster = parser.add_argument_group("resources of a run on SLURM (launch.* in gin)")
    for name in ("partition", "account", "qos", "constraint", "time", "mem", "gpu-memory"):
        cluster.add_argument(f"--{name}", metavar=name.upper())
    for name in ("nodes", "gpus", "processes", "cpus", "max-parallel", "runs-per-job", "requeues"):
        cluster.add_argument(f"--{name}", type=int, metavar="N")
    cluster.add_argument("--setup", action="append", metavar="COMMAND", help="run before a job")
    cluster.add_argument("--prefix", metavar="COMMAND", help="what stands before Python in a job, "
        "such as 'apptainer exec image.sif'")  # fmt: skip
    return parser.parse_args()


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = -1.0
    if not 0 < hours < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number of hours")
    return hours


def with_resources(configuration: Configuration, given: argparse.Namespace) -> Configuration:
    """Return the configuration with the resources that the command line names."""
    names = (
        "partition", "account", "qos", "constraint", "time", "mem", "gpu_memory", "nodes", "gpus",
        "processes", "cpus", "max_parallel", "runs_per_job", "requeues", "setup", "prefix",
    )  # fmt: skip
    for name in names:
        value = getattr(given, name)
        if value is not None:
            option = f"--{name.replace('_', '-')}"
            configuration = configuration.with_bindings({f"launch.{name}": value}, option)
    return configuration


def program() -> int:
    """Check, submit and, if asked, wait; exit with 1 if a run did not end well."""
    given = arguments()
    line = f"python {shlex.join(sys.argv)}"
    on_slurm = executors.choose(given.executor) == "slurm"
    with CleanProcess() as clean:  # before anything that the configuration names is imported
        configuration = with_resources(command.configuration(given), given)
        planned = plan(configuration, given.gin[-1].stem, line)
        grid = given.output or Path("runs", planned.name)
        decisions = decide(grid, planned, given.retry)[1]
        processes.check([decision.cell for decision in decisions if decision.run], given.executor)
        probed = not given.no_probe
        findings, cost = checking.check(
            planned, grid, decisions, clean=clean, probed=probed, here=not on_slurm
        )
    if given.budget is not None:
        cost.check(given.budget)
    if given.dry_run:
        presenting.print_plan(grid, planned, decisions, findings, cost)
        return 0
    presenting.say_cost(cost)
    options = Options(
        executor=given.executor,
        retry=given.retry,
        parallel=given.parallel,
        fail_fast=given.fail_fast,
        command=line,
    )
    launched = launch(planned, grid, options)
    presenting.say_launched(launched)
    if launched.executor == "inline":
        presenting.run_inline(launched, options)
    elif not given.wait:
        presenting.print_where_to_look(launched)
        return 0
    return presenting.finish(launched)


if __name__ == "__main__":
    command.main(program)
