#!/usr/bin/env python3
"""Write what compiled mmcv's operators answer to tests/data/mmcv_ops/: tools/dev/mmcv_fixtures.py [--check] [NAME …].

Needs compiled mmcv. The tests compare this package's operators with these files where there is no compiled mmcv.
"""
import argparse
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run from anywhere, installed or not

from mmvision_mamba import mmcv_ops
from mmvision_mamba.files import replace
from tests.helpers.mmcv_operators import FIXTURES, OPERATORS


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('names', nargs='*', choices=[[], *OPERATORS], metavar='NAME', help='operators; default: all')
    parser.add_argument('--check', action='store_true', help='write nothing; exit code 1 where a file is out of date')
    args = parser.parse_args(argv)
    extension = import_module(mmcv_ops.NAME)
    if mmcv_ops.in_use():
        print('error: no compiled mmcv is installed here', file=sys.stderr)
        return 2
    outdated = False
    for name in args.names or OPERATORS:
        path, answers = FIXTURES / f'{name}.npz', OPERATORS[name].answers(extension)
        if path.exists() and same(dict(np.load(path)), answers):
            continue
        outdated = True
        print(f'{name}: {len(answers)} arrays, {"out of date" if args.check else "written"}')
        if not args.check:
            replace(path, lambda temporary, answers=answers: write(temporary, answers))
    return int(args.check and outdated)


def same(old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray]) -> bool:
    return old.keys() == new.keys() and all(old[key].dtype == new[key].dtype and np.array_equal(old[key], new[key])
                                            for key in new)


def write(path: Path, answers: Mapping[str, np.ndarray]) -> None:
    with open(path, 'wb') as file:
        np.savez_compressed(file, **answers)


if __name__ == '__main__':
    sys.exit(main())
