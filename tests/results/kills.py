"""Killing a writer again and again, and looking at what is left."""

import os
import random
import select
import signal
from dataclasses import dataclass

import h5py
import numpy as np

from framework.results import RunWriter, journal, layout, read_run
from tests.results.results_support import make_config, record_step, value_at

START_OVER = 200
"""Flushed steps from which the run starts again from 0, so that a rehearsal stays short."""


@dataclass
class Kills:
    """What a rehearsal met: kills, files opened by plain h5py after one, torn journals."""

    kills: int = 0
    opened: int = 0
    torn: int = 0
    furthest: int = 0
    resumed: int = 0


def in_child(work):
    """Runs `work(report)` in a forked child; returns its pid and a pipe of the steps it reports."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            work(lambda step: os.write(writing, step.to_bytes(8, "little")))
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    return child, reading


def kill_after(child, pipe, reports, seconds):
    """Kills the child `seconds` after its n-th report, and returns the last step it reported."""
    step = 0
    for _ in range(reports):
        data = os.read(pipe, 8)
        if not data:
            break
        step = int.from_bytes(data, "little")
    select.select([], [], [], seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while data := os.read(pipe, 8):
        step = int.from_bytes(data, "little")
    os.close(pipe)
    return step


def assert_whole_up_to(directory, flushed):
    """The run has every step from 1 on to at least `flushed`, each once, with its value."""
    scalars = read_run(directory).scalars
    steps = scalars["lr"]["step"].to_numpy() if scalars else np.empty(0, int)
    last = len(steps)
    np.testing.assert_array_equal(steps, np.arange(1, last + 1))
    assert last >= flushed
    for tag, points in scalars.items():
        np.testing.assert_array_equal(points["value"], [value_at(tag, s) for s in points["step"]])
    return last


def rehearse(run, kills):
    """Kill a writer that flushes every 5 and publishes every 15 steps; resume it each time.

    After every kill the run has all steps up to the last flush, each once. A kill comes at a
    random moment after up to 3 flushes, so that the run gets on however slow the machine is. The
    newest checkpoint lies at some flushed step.

    Returns:
        what it met; the run goes on from its `resumed`.
    """
    rng, met = random.Random(0), Kills()

    def train(report):
        options = {"flush_seconds": 1e9, "publish_seconds": 1e9, "resume_step": met.resumed}
        with RunWriter(run, config=make_config(), **options) as writer:
            report(met.resumed)
            for step in range(met.resumed + 1, 10**9):
                record_step(writer, step)
                if step % 15 == 0:
                    writer.publish()
                elif step % 5 == 0:
                    writer.flush()
                    report(step)

    for _ in range(kills):
        child, pipe = in_child(train)
        flushed = kill_after(child, pipe, rng.randint(0, 3), rng.uniform(0, 0.01))
        met.kills += 1
        kept = max(flushed, met.resumed)
        if not (run / layout.JOURNAL_NAME).exists():
            assert kept == 0
            continue
        if (run / layout.HDF5_NAME).exists():
            with h5py.File(run / layout.HDF5_NAME) as file:
                assert file["config"].attrs["grid"] == "ema_target"
            met.opened += 1
        found = journal.scan(run / layout.JOURNAL_NAME)
        met.torn += found.end < found.size
        met.furthest = max(met.furthest, assert_whole_up_to(run, kept))
        if kept > START_OVER:
            met.resumed = 0
        elif flushed > met.resumed:
            met.resumed = flushed - rng.randint(0, 4)
    return met
