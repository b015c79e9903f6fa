"""Whether a run that calls itself running still does."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework.runs import claims, outcomes

SILENT_SECONDS = 120.0  # a run on another host that says nothing for so long is asked about


def is_alive(run: Path, beat: Mapping[str, Any]) -> bool:
    """Return whether the process of a running run's heartbeat lives.

    It holds the lock of the run's folder. A lock held on another host may not be seen here: there
    a heartbeat that is not old will do.
    """
    if claims.is_held(run / claims.LOCK):
        return True
    return _is_elsewhere(beat) and not _is_silent(beat)


def is_gone(beat: Mapping[str, Any]) -> bool:
    """Return whether the process of a heartbeat cannot be alive; locks may not cross hosts."""
    if _is_elsewhere(beat):
        return _is_silent(beat)
    try:
        os.kill(int(beat.get("pid") or 0), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _is_elsewhere(beat: Mapping[str, Any]) -> bool:
    return bool(beat.get("host") != socket.gethostname())


def _is_silent(beat: Mapping[str, Any]) -> bool:
    return time.time() - outcomes.updated(beat) > SILENT_SECONDS
