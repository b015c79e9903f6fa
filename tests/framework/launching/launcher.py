"""A launcher of toy grids in a process of its own: python -m tests....launcher DIR STEPS."""

import sys
from pathlib import Path

from framework.launching.launch import launch
from framework.launching.waiting import wait
from tests.framework.launching.conftest import options, toy_plan

if __name__ == "__main__":
    launched = launch(toy_plan(f"train.steps = {sys.argv[2]}"), Path(sys.argv[1]), options())
    print("launched", flush=True)
    wait(launched.grid, launched.manifest)
