"""A run whose processes write down what they find in their environment."""

import os
import signal
import time
from pathlib import Path
from socket import create_server

import torch
import torch.distributed as dist

from framework.distribution import joined
from framework.runs import outcomes
from framework.training import failures


def run(directory: Path) -> None:
    names = ("LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    words = [os.environ[name] for name in names]
    words += [f"port={is_free(int(words[-1]))}", f"elastic={'TORCHELASTIC_RUN_ID' in os.environ}"]
    found = " ".join(words)
    (directory / f"rank-{os.environ['RANK']}").write_text(found)
    if os.environ["RANK"] == "0":
        outcomes.record(directory, "done", "")


def is_free(port: int) -> bool:
    try:
        create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def killed(directory: Path) -> None:
    """The second process is killed, while the first one waits for a number of it."""
    with failures.written_down(directory), joined() as world:
        if not world.leads:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            dist.broadcast(torch.zeros(1), src=1)
        except RuntimeError as error:
            outcomes.record(directory, "failed", str(error))
            raise


def aborted(directory: Path) -> None:
    """The second process fails; the first one then is aborted, as NCCL's watchdog does."""
    with failures.written_down(directory), joined() as world:
        if not world.leads:
            raise ValueError("the reason")
        while not (directory / outcomes.FAILURE).exists():
            time.sleep(0.01)
        os.abort()
