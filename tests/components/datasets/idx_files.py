"""Writes small IDX files."""

import numpy as np


def write_idx(path, array):
    """Write unsigned bytes as an IDX file."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


def write_clothes(folder, count=20):
    """Write Fashion-MNIST's four files with that many images in each part; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "t10k"):
        labels = np.arange(count, dtype=np.uint8) % 10
        write_idx(folder / f"{part}-labels-idx1-ubyte", labels)
        pixels = np.random.default_rng(0).integers(256, size=(count, 28, 28), dtype=np.uint8)
        write_idx(folder / f"{part}-images-idx3-ubyte", pixels)
    return folder
