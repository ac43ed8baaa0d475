"""Write a checkpoint's weights alone, named after their hash, to give away.

Optimiser, schedule and paths of the run stay behind: the file is a third as large. Averaged weights (EMA) are what
such a run validates, and what is written of it.
"""
import argparse

from ..errors import ConfigError
from ..printable import shown


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('checkpoint', help='checkpoint file, URL or hf://OWNER/REPO')
    parser.add_argument('out', nargs='?', help='file to write, NAME.pth, as NAME-HASH.pth; default: beside CHECKPOINT, '
                        'under its name')


def run(args: argparse.Namespace) -> None:
    from ..checkpoints.publishing import publish
    if args.out == '':
        raise ConfigError('OUT is empty: name a file, or leave it out')
    print(shown(publish(args.checkpoint, args.out)))
