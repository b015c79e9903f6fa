"""Samples as PNG files: sheets to look at, and single images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from framework.files import replacing

LEAST_PIXELS = 32  # small images are enlarged by a whole factor until their tiles have as many
GAP = 1
WHITE = 255

Images = NDArray[np.uint8]


def save_sheet(path: Path, images: Images, columns: int) -> None:
    """Write images (n, H, W, 1 or 3) as one PNG, row by row with `columns` a row.

    Raises:
        OSError: the file cannot be written.
    """
    factor = -(-LEAST_PIXELS // images.shape[1])
    tiles = images.repeat(factor, axis=1).repeat(factor, axis=2)
    n, height, width, channels = tiles.shape
    rows = -(-n // columns)
    sheet = np.full((rows * columns, height + GAP, width + GAP, channels), WHITE, np.uint8)
    sheet[:n, GAP:, GAP:] = tiles
    grid = sheet.reshape(rows, columns, height + GAP, width + GAP, channels).swapaxes(1, 2)
    save_image(path, grid.reshape(rows * (height + GAP), columns * (width + GAP), channels))


def save_image(path: Path, image: Images) -> None:
    """Write one image (H, W, 1 or 3) as a PNG, its folder made if missing.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=False) as beside:  # there may be thousands
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(beside, "PNG")
