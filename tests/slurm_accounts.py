"""Accounting for a throw-away SLURM: a database and slurmdbd in the cluster's own folder.

Needs the Debian packages slurmdbd, slurm-wlm-mysql-plugin, mariadb-server-core and
mariadb-client-core.
"""

from __future__ import annotations

import getpass
import subprocess
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("slurmdbd", "mariadbd", "mariadb-install-db", "my_print_defaults", "sacct", "sacctmgr")
PASSWORD = "throw-away"
OPEN = f"GRANT ALL ON *.* TO slurm@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n"

SETTINGS = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge.socket
"""

CONFIGURATION = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser={user}
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=slurm
StoragePass={password}
StorageLoc=accounts
"""


def settings(folder: Path, port: int) -> str:
    """Return the lines of slurm.conf that ask for accounts."""
    return SETTINGS.format(folder=folder, port=port)


def start(
    folder: Path,
    host: str,
    ports: tuple[int, int],
    spawn: Callable[..., None],
    until: Callable[[Callable[[], bool], str], None],
) -> None:
    """Start the database and slurmdbd, and register the cluster.

    Args:
        folder: the cluster's, with slurm.conf and munge's socket in it.
        host: this machine's name.
        ports: slurmdbd's and the database's.
        spawn: starts a daemon of the cluster's.
        until: waits for something, by name.
    """
    port, database_port = ports
    data, user = folder / "database", getpass.getuser()
    common = ("--no-defaults", f"--datadir={data}", f"--user={user}")
    install = ["mariadb-install-db", *common, "--skip-test-db", "--skip-name-resolve"]
    subprocess.run(install, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (folder / "open.sql").write_text(OPEN)
    spawn("mariadbd", *common, f"--init-file={folder}/open.sql", f"--port={database_port}",
          "--bind-address=127.0.0.1", f"--socket={folder}/database.socket", "--skip-name-resolve",
          f"--pid-file={folder}/database.pid", "--innodb-flush-log-at-trx-commit=0",
          "--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900")  # fmt: skip
    until((folder / "database.socket").exists, "mariadbd")
    secret = folder / "slurmdbd.conf"
    secret.touch(0o600)
    secret.write_text(
        CONFIGURATION.format(
            folder=folder, host=host, user=user, port=port, database_port=database_port,
            password=PASSWORD,
        )
    )  # fmt: skip
    spawn("slurmdbd", "-D")
    add = ["sacctmgr", "--immediate", "add", "cluster", "test"]
    until(lambda: subprocess.run(add, capture_output=True).returncode == 0, "slurmdbd")
