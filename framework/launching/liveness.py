"""Whether a run that calls itself running still does."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework.launching import claims
from framework.launching.states import SILENT_SECONDS


def is_alive(run: Path, beat: Mapping[str, Any]) -> bool:
    """Return whether the process of a running run's heartbeat lives.

    It holds the lock of the run's folder. A lock held on another host may not be seen here: there
    a heartbeat that is not old will do.
    """
    if claims.is_held(run / claims.LOCK):
        return True
    elsewhere = beat.get("host") != socket.gethostname()
    return elsewhere and time.time() - float(beat.get("updated") or 0.0) <= SILENT_SECONDS
