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
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tests import slurm_accounts

NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory=4000"
)
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
START_SECONDS = 30.0
PR_SET_PDEATHSIG = 1
ANSWERS = ("idle", "mixed", "allocated")

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
{accounts}JobRequeue=1
KillWait=5
MinJobAge=86400
MaxArraySize={largest}
{nodes}
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing(*more: str) -> str:
    """Return which programs, and which more, are not installed, or an empty string."""
    return ", ".join(name for name in (*PROGRAMS, *more) if shutil.which(name) is None)


class Cluster:
    """One node or two with a few cores each; arrays have less than `largest` elements.

    With `accounts` there are slurmdbd and its database too. Its folder lies directly in the
    temporary one: munged wants everyone to get to its socket. Two nodes are two of this machine's
    own addresses: processes of a job meet at a node's name.
    """

    def __init__(
        self, cpus: int = 4, largest: int = 1001, nodes: int = 1, accounts: bool = False
    ) -> None:
        self._nodes = ["n1"] if nodes == 1 else ["127.1", "127.2"]
        self._folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.accounts = accounts
        self._cpus, self._largest = cpus, largest
        self._host = socket.gethostname().partition(".")[0]
        self._ports = _free_ports(3 + len(self._nodes))
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
            if self.accounts:
                _, dbd, database, *_ = self._ports
                slurm_accounts.start(
                    self._folder, self._host, (dbd, database), self._spawn, self._until
                )
            self._spawn("slurmctld", "-D")
            self._until(lambda: "is UP" in said("scontrol", "ping"), "slurmctld")
            for name in self._nodes:
                self.start_node(name)
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

    def start_node(self, name: str = "n1") -> None:
        """Start slurmd and wait until its node answers."""
        self._spawn("slurmd", "-D", "-N", name)
        state = ("sinfo", "--noheader", f"--nodes={name}", "--format=%T")
        self._until(lambda: said(*state).strip() in ANSWERS, "slurmd")

    def kill_node(self) -> None:
        """Kill slurmd and the daemons of its job steps, which leaves the jobs' own processes.

        slurmctld is told at once what it would find out by itself after SlurmdTimeout, minutes.
        """
        slurmd = self._processes.pop()
        slurmd.kill()
        slurmd.wait()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended
                is_daemon = (process / "cmdline").read_bytes().startswith(b"slurmstepd")
                if is_daemon and any(self._is_ours(file) for file in (process / "fd").iterdir()):
                    os.kill(int(process.name), signal.SIGKILL)
        said("scontrol", "update", "NodeName=n1", "State=DOWN", "Reason=killed")

    def _is_ours(self, file: Path) -> bool:
        return file.is_symlink() and str(file.readlink()).startswith(str(self._folder))

    def _write(self) -> None:
        for name in ("state", "munge", *(f"spool-{node}" for node in self._nodes)):
            (self._folder / name).mkdir(parents=True)
        self._folder.chmod(0o755)
        key = self._folder / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        (self._folder / "munge").chmod(0o700)
        (self._folder / "plugstack.conf").touch()
        port, dbd_port, _, *node_ports = self._ports
        nodes = [
            NODE.format(name=name, host=self._host, port=node_port, cpus=self._cpus)
            for name, node_port in zip(self._nodes, node_ports, strict=True)
        ]
        accounts = "AccountingStorageType=accounting_storage/none\n"
        if self.accounts:
            accounts = slurm_accounts.settings(self._folder, dbd_port)
        (self._folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                folder=self._folder, host=self._host, user=getpass.getuser(), port=port,
                nodes="\n".join(nodes), largest=self._largest, accounts=accounts,
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
