"""Writes small files of latents."""

import h5py
import numpy as np

from components.datasets.latents_file import FORMAT, digest


def write_latents(path, count=12, channels=4, resolution=6, classes=3, kind="float16", **changes):
    """Write a whole file; `changes` replaces arrays, or leaves out those that are None."""
    generator = np.random.default_rng(0)
    shape = (count, channels, resolution, resolution)
    arrays = {
        "mean": generator.normal(size=shape).astype(kind),
        "std": generator.uniform(0.1, 0.2, size=shape).astype(kind),
        "labels": np.arange(count) % classes,
        **changes,
    }
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            if array is not None:
                file.create_dataset(name, data=array)
        file.attrs.update({"format": FORMAT, "num_classes": classes})
        file["sha256"] = np.frombuffer(digest(file).encode(), np.uint8)
    return path
