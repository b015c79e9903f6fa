"""A launcher of toy grids in a process of its own: DIR STEPS [--leave]."""

import sys
from pathlib import Path

from framework.launching.launch import launch
from framework.launching.waiting import wait
from tests.framework.launching.conftest import options, toy_plan

if __name__ == "__main__":
    launched = launch(toy_plan(f"train.steps = {sys.argv[2]}"), Path(sys.argv[1]), options())
    print("launched", flush=True)
    if "--leave" not in sys.argv:
        wait(launched.grid, launched.manifest)
