#!/usr/bin/env python3
"""Fill the tables of docs/performance.md from docs/results/*/*.json: tools/dev/performance_page.py [--check]."""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run from anywhere, installed or not

from mmvision_mamba.benchmark.page import fill_page
from mmvision_mamba.checkout import ROOT
from mmvision_mamba.errors import UserError
from mmvision_mamba.files import replace


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true', help='write nothing; exit code 1 where the page is out of date')
    args = parser.parse_args(argv)
    page = ROOT / 'docs' / 'performance.md'
    old = page.read_text()
    try:
        new = fill_page(old, ROOT / 'docs' / 'results', ROOT)
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    if args.check:
        print('up to date' if new == old else 'out of date: run tools/dev/performance_page.py')
        return int(new != old)
    if new != old:
        replace(page, lambda temporary: temporary.write_text(new))
    return 0


if __name__ == '__main__':
    sys.exit(main())
