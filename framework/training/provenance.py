"""Where a result comes from: code, packages, machine."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import torch

PACKAGES = ("tvmlab", "torch", "triton", "gin-config", "numpy", "scikit-learn", "submitit", "h5py")


KEPT = "provenance.json"


def git_state(directory: Path) -> tuple[str, str]:
    """Return the commit checked out around `directory` and the diff against it.

    A launched job runs a copy of the code, which says beside the packages what it was copied from.
    Both are empty where there is no git or no repository.
    """
    kept = Path(__file__).resolve().parents[2] / KEPT
    if kept.is_file():
        state = json.loads(kept.read_text(encoding="utf-8"))
        return state["commit"], state["diff"]
    if not shutil.which("git"):
        return "", ""
    return _git(directory, "rev-parse", "HEAD").strip(), _git(directory, "diff", "HEAD")


def _git(directory: Path, *arguments: str) -> str:
    result = subprocess.run(
        ["git", "-C", str(directory), *arguments], capture_output=True, text=True, check=False
    )
    return result.stdout if result.returncode == 0 else ""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def device_name(device: torch.device) -> str:
    """Return what computes: the GPU's name, or the processor and the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
