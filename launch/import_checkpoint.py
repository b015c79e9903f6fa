"""Turn weights from elsewhere into a run's folder, and a run's weights into a file.

python launch/import_checkpoint.py im256_w2.pkl --out runs/im256_w2
python launch/import_checkpoint.py FILE --out DIR --gin gin/imagenet512_w2.5.gin
python launch/import_checkpoint.py runs/im256_w2 --safetensors im256_w2.safetensors
python launch/import_checkpoint.py im256_w2.safetensors --out runs/again

FILE is a .pkl or training-state-*.pt of the released code, or a .safetensors file of this program.
Nothing in it is executed. Sizes follow from the network; what it does not say, such as the guidance
weight, comes from the --gin file, or else from gin/imagenet256.gin or gin/imagenet512.gin.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from framework import UserError, command
from framework.training import exchange


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = command.parser(__doc__ or "")
    parser.add_argument("file", type=Path, metavar="FILE", help="a checkpoint, or a run's folder")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the new run's folder")
    parser.add_argument(
        "--safetensors", type=Path, metavar="FILE", help="write a run's evaluation weights there"
    )
    command.add_configuration_arguments(parser, required=False)
    given = parser.parse_args()
    if (given.out is None) == (given.safetensors is None):
        parser.error("name either --out DIR to import, or --safetensors FILE to export a run")
    return given


def program() -> None:
    """Import or export, and say what became of it."""
    given = arguments()
    if not given.file.exists():
        raise UserError(f"{given.file}: no such file or folder")
    if given.safetensors is not None:
        step = exchange.export(given.file, given.safetensors)
        print(f"{given.safetensors}: evaluation weights of {given.file} at step {step}")
        return
    if given.file.is_dir():
        raise UserError(f"{given.file} is a folder: --safetensors FILE exports a run")
    from components.models.importing import Import  # launch/components.py was in its way before

    work = Import(given.file, given.out, given.gin, given.set, given.plugin)
    held = work.run()
    for note in work.notes:
        print(note, file=sys.stderr)
    print(f"{given.out}: {held}")


if __name__ == "__main__":
    command.main(program)
