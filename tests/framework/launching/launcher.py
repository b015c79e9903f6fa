"""A launcher of toy grids in a process of its own: DIR STEPS [--leave]."""

import signal
import sys
from pathlib import Path

from framework.launching.launch import launch
from framework.launching.waiting import wait
from tests.framework.launching.conftest import options, toy_plan

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as at a terminal, where tests run
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # behind nohup these two are ignored
    launched = launch(toy_plan(f"train.steps = {sys.argv[2]}"), Path(sys.argv[1]), options())
    print("launched", flush=True)
    if "--leave" not in sys.argv:
        wait(launched.grid, launched.manifest)
