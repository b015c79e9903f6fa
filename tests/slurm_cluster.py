"""A throw-away SLURM on this machine: munged, slurmctld and slurmd under one folder.

`with Cluster(): ...` puts it into the environment, so that sbatch and submitit
find it. Needs the Debian packages slurm-wlm and munge. Runs as root or as anyone.
"""

from __future__ import annotations

import ctypes
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory=4000"
)
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
START_SECONDS = 30.0
PR_SET_PDEATHSIG = 1

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPort={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
PlugStackConfig={folder}/plugstack.conf
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobRequeue=1
KillWait=5
MinJobAge=86400
MaxArraySize={largest}
{nodes}
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Return which programs are not installed, or an empty string."""
    return ", ".join(name for name in PROGRAMS if shutil.which(name) is None)


class Cluster:
    """One node or two with a few cores each; arrays have less than `largest` elements.

    Its folder lies directly in the temporary one: munged wants everyone to get to its socket. Two
    nodes are two of this machine's own addresses: processes of a job meet at a node's name.
    """

    def __init__(self, cpus: int = 4, largest: int = 1001, nodes: int = 1) -> None:
        self._host = socket.gethostname().partition(".")[0]
        self._nodes = ["n1"] if nodes == 1 else ["127.1", "127.2"]
        self._folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self._cpus, self._largest = cpus, largest
        self._processes: list[subprocess.Popen[bytes]] = []
        self._before = os.environ.get("SLURM_CONF")

    def __enter__(self) -> Cluster:
        os.environ["SLURM_CONF"] = str(self._folder / "slurm.conf")
        try:
            self._write()
            munge = self._folder / "munge"
            self._spawn("munged", "--foreground", f"--socket={self._folder}/munge.socket",
                        f"--key-file={munge}/key", f"--pid-file={munge}/pid",
                        f"--log-file={munge}/log", f"--seed-file={munge}/seed")  # fmt: skip
            self._until((self._folder / "munge.socket").exists, "munged")
            self._spawn("slurmctld", "-D")
            self._until(lambda: "is UP" in said("scontrol", "ping"), "slurmctld")
            for name in self._nodes:
                self._spawn("slurmd", "-D", "-N", name)
            self._until(lambda: set(said("sinfo", "-h", "-N", "-o", "%T").split()) == {"idle"},
                        "slurmd")  # fmt: skip
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        said("scancel", "--full", "--signal=KILL", f"--user={getpass.getuser()}")
        said("scancel", f"--user={getpass.getuser()}")
        deadline = time.monotonic() + 15
        while said("squeue", "-h").strip() and time.monotonic() < deadline:
            time.sleep(0.1)
        self._stop()
        shutil.rmtree(self._folder)

    def _write(self) -> None:
        for name in ("state", "munge", *(f"spool-{node}" for node in self._nodes)):
            (self._folder / name).mkdir(parents=True)
        self._folder.chmod(0o755)
        key = self._folder / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        (self._folder / "munge").chmod(0o700)
        (self._folder / "plugstack.conf").touch()
        port, *node_ports = _free_ports(1 + len(self._nodes))
        nodes = [
            NODE.format(name=name, host=self._host, port=node_port, cpus=self._cpus)
            for name, node_port in zip(self._nodes, node_ports, strict=True)
        ]
        (self._folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                folder=self._folder, host=self._host, user=getpass.getuser(), port=port,
                nodes="\n".join(nodes), largest=self._largest,
            )
        )  # fmt: skip

    def _spawn(self, *command: str) -> None:
        def end_with_tests() -> None:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

        with (self._folder / f"{command[0]}.out").open("ab") as log:
            self._processes.append(
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                 start_new_session=True, preexec_fn=end_with_tests)
            )  # fmt: skip

    def _until(self, true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not true():
            for process in self._processes:
                if process.poll() is not None:
                    raise RuntimeError(f"{process.args} ended: see {self._folder}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not start: see {self._folder}")
            time.sleep(0.05)

    def _stop(self) -> None:
        for process in reversed(self._processes):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        if self._before is None:
            del os.environ["SLURM_CONF"]
        else:
            os.environ["SLURM_CONF"] = self._before


def said(*command: str) -> str:
    """Return what a command prints, whether or not it succeeds."""
    asked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return asked.stdout + asked.stderr


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
