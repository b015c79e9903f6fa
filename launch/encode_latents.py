"""Encode images with Stable Diffusion's autoencoder into the file that datasets.latents reads.

python launch/encode_latents.py --images imagenet256.zip --out latents/imagenet256.h5
python launch/encode_latents.py --images ILSVRC2012/train --crop 256 --out latents/imagenet256.h5
python launch/encode_latents.py --verify latents/imagenet256.h5

Labels come from dataset.json, or from the names of the folders. Pictures of 16 bits, or with
transparent pixels, are refused. After a kill the same command goes on. The autoencoder is a folder
or a name in the hub's cache; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from framework import command

REPORT_EVERY = 5.0  # seconds


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = command.parser(__doc__ or "")
    add = parser.add_argument
    add("--images", type=Path, metavar="DIR|ZIP", help="PNG, JPEG or NPY images")
    add("--out", type=Path, metavar="FILE", help="the file of latents")
    add("--vae", metavar="SOURCE", help="folder or hub name (default stabilityai/sd-vae-ft-ema)")
    scaled = "scale the shorter side to this, up or down, and cut the square in the middle"
    add("--crop", type=command.positive, metavar="SIZE", help=scaled)
    add("--flip", action="store_true", help="encode the mirrored images too")
    add("--dtype", choices=("float16", "float32"), default="float16", help="of the file's numbers")
    add("--classes", type=command.positive, metavar="N", help="classes, if labels show fewer")
    add("--batch-size", type=command.positive, default=32, metavar="N", help="images at once")
    add("--device", metavar="DEVICE", help="cpu or cuda[:N] (default: a GPU if there is one)")
    add("--verify", type=Path, metavar="FILE", help="compare a file with its checksum, and leave")
    given = parser.parse_args()
    if given.verify is None and (given.images is None or given.out is None):
        parser.error("name --images and --out, or --verify FILE")
    return given


class Progress:
    """Lines on standard error: how far, how fast, how long still."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, done: int, total: int, rate: float) -> None:
        """Say it if it is time to."""
        now = time.monotonic()
        if now < self._next and done < total:
            return
        self._next = now + REPORT_EVERY
        left = time.strftime("%H:%M:%S", time.gmtime((total - done) / max(rate, 1e-9)))
        share = 100 * done / total
        print(
            f"{done}/{total} images ({share:.1f} %), {rate:.1f} a second, {left} left",
            file=sys.stderr,
            flush=True,
        )


def program() -> None:
    """Encode, and say what the file holds."""
    given = arguments()
    # launch/components.py was in the way of the package before
    from components.datasets.autoencoder import STABLE_DIFFUSION, Autoencoder
    from components.datasets.encoding import Encoding
    from components.datasets.latents_file import verify

    if given.verify is not None:
        path, found = given.verify, verify(given.verify)
    else:
        path = given.out
        autoencoder = Autoencoder(given.vae or STABLE_DIFFUSION, given.device)
        work = Encoding(given.images, path, given.flip, given.crop, given.dtype, given.classes)
        found = work.run(autoencoder, given.batch_size, Progress())
    mirrored = ", and mirrored" if found.flipped else ""
    print(
        f"{path}: {len(found.labels)} images in {found.num_classes} classes, latents of "
        f"{'x'.join(map(str, found.shape))}{mirrored}, SHA-256 {found.sha256}"
    )


if __name__ == "__main__":
    command.main(program)
