"""A run that computes something cheap and exact, step by step, and resumes from its last step.

What happens to it is said in `.toy.json` in the grid's folder: {arm: {"fail": step}, ...} with
`fail` (raises), `crash` (the process aborts), `diverge`, `wait` (stands still until the file
`go` exists in the grid's folder), all by step.
"""

import json
import os
import re
import signal
import socket
import time
from pathlib import Path

SAVE_EVERY = 5
MODULUS = 2**61 - 1


def run(directory: Path) -> None:
    text = (directory / "config.gin").read_text()
    steps, seed = (int(re.search(rf"train\.{k} = (\d+)", text)[1]) for k in ("steps", "seed"))
    plan = directory.parent.parent / ".toy.json"
    acts = json.loads(plan.read_text()).get(directory.parent.name, {}) if plan.exists() else {}
    saved = directory / "state.json"
    step, value = json.loads(saved.read_text()) if saved.exists() else (0, seed + 1)
    with (directory / "starts").open("a") as file:
        file.write(f"{step}\n")
    stop = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        signal.signal(number, lambda received, frame: stop.append(signal.Signals(received).name))
    while step < steps:
        _act(directory, acts, step, stop)
        value = value * 48271 % MODULUS
        step += 1
        if step % SAVE_EVERY == 0 or stop:
            _write(saved, [step, value])
        if acts.get("diverge") == step:
            return _beat(directory, "diverged", step, steps, cause=f"nan at step {step}")
        if stop:
            return _beat(directory, "stopped", step, steps, cause=stop[0])
        _beat(directory, "running", step, steps)
    _write(directory / "result.json", value)
    return _beat(directory, "done", step, steps, metrics={"fd": float(value % 97)})


def _act(directory: Path, acts: dict, step: int, stop: list) -> None:
    if acts.get("fail") == step:
        raise ValueError("toy failure")
    if acts.get("crash") == step:
        os.abort()
    if acts.get("wait") == step:
        _beat(directory, "running", step, step + 1)
        while not (stop or (directory.parent.parent / "go").exists()):
            time.sleep(0.01)


def _beat(directory: Path, state: str, step: int, steps: int, **more) -> None:
    beat = {"state": state, "step": step, "steps": steps, "steps_per_second": 100.0,
            "updated": time.time(), "pid": os.getpid(), "host": socket.gethostname(),
            "cause": ""} | more  # fmt: skip
    _write(directory / "heartbeat.json", beat)


def _write(path: Path, value) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(value))
    beside.rename(path)
