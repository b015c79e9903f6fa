"""A real TensorBoard server over loopback, and questions to it."""

import itertools
import json
import re
import subprocess
import sys
import urllib.request
from contextlib import contextmanager


@contextmanager
def serve(directory):
    """Serve a folder of runs; yield the address."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(directory), "--port", "0"]
    command += ["--host", "127.0.0.1", "--load_fast=false", "--reload_interval=0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        lines = itertools.takewhile(bool, iter(process.stderr.readline, ""))
        addresses = (re.search(r"http://127\.0\.0\.1:\d+", line) for line in lines)
        yield next(filter(None, addresses))[0]
    finally:
        process.terminate()
        process.communicate()


def ask(address, path, body=None):
    """Return the JSON that the server answers."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/data/{path}", data, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
