#!/usr/bin/env python3
"""Hostile inputs of many kinds through whole commands: python -m tests.hostile.tools [KIND …] --examples N --seed N.

An input breaks nothing if its command ends in time and memory with an exit code that it documents, leaves no process,
no half-written file and nothing outside of its folder, and says what is wrong in a line or two, which nothing in the
input can forge. Inputs are numbered, and number N is always the same: --seed N --examples 1 tries it alone.
"""
import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from . import forks, hostile_files, hostile_hub, hostile_options, hostile_servers
from .hostile_files import Try
from .tool_material import build

KINDS: dict[str, Callable[[Path, Path, random.Random], Try]] = dict(
    annotations=hostile_files.annotations, checkpoints=hostile_files.checkpoints, images=hostile_files.images,
    trees=hostile_files.trees, urls=hostile_servers.urls, options=hostile_options.options,
    repositories=hostile_hub.repositories)


def fuzz(kind: str, base: Path, folder: Path, seeds: range, report: Callable[[str], None] = print) -> list[dict]:
    """Try the inputs; returns those that broke something, whose files stay in `folder`."""
    from mmvision_mamba.commands import main
    found, codes, start, cpu = [], Counter(), time.monotonic(), 0.
    for seed in seeds:
        root = folder / f'{kind}_{seed}'
        root.mkdir(parents=True)
        given = KINDS[kind](base, root, random.Random(f'{kind} {seed}'))
        outcome = forks.attempt(lambda argv=given.argv: main(None, argv), root, given.codes, given.lists, given.writes)
        codes[outcome.code] += 1
        cpu += outcome.seconds
        if outcome.broken:
            found.append(dict(kind=kind, seed=seed, argv=[*map(str, given.argv)], what=given.what, code=outcome.code,
                              broken=outcome.broken, seconds=round(outcome.seconds, 1), out=outcome.out[-2000:],
                              err=outcome.err[-6000:]))
            (root / 'broken.json').write_text(json.dumps(found[-1], indent=1))
            report(f'{kind} {seed}: {outcome.broken} {given.what!r} {[*map(str, given.argv)]!r}'[:1000])
        else:
            forks.remove(root)
    report(f'{kind}: {len(seeds)} inputs, seeds {seeds.start} to {seeds.stop - 1}: {len(found)} broke something; '
           f'exit codes {dict(sorted(codes.items()))}; {time.monotonic() - start:.0f} s, {cpu:.0f} s of CPU time')
    return found


def run(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('kinds', nargs='*', default=[*KINDS])
    parser.add_argument('--examples', type=int, default=100, help='inputs of each kind; default: 100')
    parser.add_argument('--seed', type=int, default=0, help='number of the first; default: 0')
    parser.add_argument('--folder', type=Path, help='where inputs that broke something are kept')
    args = parser.parse_args(argv)
    folder = args.folder or Path(tempfile.mkdtemp())
    base = Path(tempfile.mkdtemp(prefix='base'))
    # Colours, progress bars and widths as without a terminal, whoever started this.
    os.environ.update(COLUMNS='80', TERM='dumb', OMP_NUM_THREADS='1', MPLBACKEND='agg', WANDB_MODE='disabled',
                      MMVISION_MAMBA_IMAGE_SECONDS='2')  # servers that never end take that long each
    with hostile_servers.serving(), hostile_hub.serving():
        try:
            build(base)
            hostile_hub.prepare(base)
            found = [broken for kind in args.kinds for broken in fuzz(
                kind, base, folder, range(args.seed, args.seed + args.examples), lambda text: print(text, flush=True))]
        finally:
            shutil.rmtree(base)
    if found:
        print(f'kept in {folder}: {len(found)} inputs that broke something, each with broken.json beside its files')
    return int(bool(found))


if __name__ == '__main__':
    sys.exit(run())
