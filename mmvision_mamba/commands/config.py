"""Print a config as one file, with all that it inherits.

    mmvision-mamba config faster_rcnn_mambavision_t_coco > my_config.py

The file works anywhere, with OpenMMLab's own tools too: it imports this package itself.
"""
import argparse
import contextlib
import sys
from collections.abc import Iterator
from itertools import takewhile

from ..configs import config_names, packaged_config
from ..errors import ConfigError
from ..text import without_templates
from .options import add_cfg_options


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', nargs='?', help='config file, or the name of one that comes with this package')
    parser.add_argument('--list', action='store_true', help='list those, and what each is')
    add_cfg_options(parser)


def run(args: argparse.Namespace) -> None:
    if args.list == (args.config is not None):
        raise ConfigError('name a config or --list, one of the two')
    if args.list:
        print('\n'.join(_titles()))
        return
    from ..preflight.read import read_config
    with contextlib.redirect_stdout(sys.stderr):  # the summary of data of one's own is no part of the file
        cfg = read_config(args.config, args.cfg_options, (), find_data='data_root' in (args.cfg_options or {}))
    print(without_templates(cfg.pretty_text), end='')


def _titles() -> Iterator[str]:
    """A line for each config: its name, and the first sentence of the comment that it begins with."""
    names = config_names()
    width = max(map(len, names))
    for name in names:
        lines = packaged_config(name).read_text(encoding='utf-8').splitlines()
        comment = takewhile(lambda line: line.startswith('#'), lines)
        text = ' '.join(line.removeprefix('#').strip() for line in comment)
        yield f'{name:{width}}  {text.split(". ")[0].rstrip(".")}'
