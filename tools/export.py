#!/usr/bin/env python3
"""Write a model in a format that runs elsewhere: tools/export.py CONFIG CHECKPOINT --format FORMAT --shape H W."""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from anywhere, installed or not

from mmvision_mamba.errors import ExportError, MissingExtraError

try:
    from mmvision_mamba.engine import launch
    from mmvision_mamba.export import command
except MissingExtraError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(2)


def parse_args():
    parser = argparse.ArgumentParser(
        description='Export a detector, a segmentor or its backbone. The file is checked against PyTorch before it is '
        'put in its place: one that differs is not kept, and the exit code is 1.')
    command.add_options(parser)
    return launch.parse_args(parser)


def main():
    args = parse_args()
    with launch.user_errors():
        try:
            command.export(args)
        except ExportError as error:
            print(f'error: {error}', file=sys.stderr)
            sys.exit(1)


if __name__ == '__main__':
    main()
