"""Measure mean and deviation of each band of a data set's training images.

Prints them with the range of the values; --out writes a config that has them.
"""
import argparse
from pathlib import Path

from ..configs import find_config
from ..errors import ConfigError
from ..files import check_output, replace
from ..printable import shown
from ..text import as_text
from .options import add_cfg_options, check_outputs


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config file whose custom_data.bands, or whose pipelines, name bands')
    parser.add_argument('--images', type=int, default=200, metavar='N',
                        help='how many images are looked at, evenly spread, windows of large ones (default: '
                        '%(default)s)')
    parser.add_argument('--out', type=Path, metavar='FILE',
                        help='write a config that inherits from this one, with data_root, custom_data, mean and std')
    add_cfg_options(parser)


def run(args: argparse.Namespace) -> None:
    from ..datasets.band_loading import LoadImageFromFile
    from ..datasets.image_loader import image_loader
    from ..preflight.band_measures import image_paths, measure
    from ..preflight.datasets import datasets_of
    from ..preflight.own_data import as_text as config_text
    from ..preflight.read import read_config

    if args.images < 1:
        raise ConfigError(f'--images: expected a number from 1 up, got {args.images}')
    if args.out:
        check_output(args.out, '--out')
    cfg = read_config(args.config, args.cfg_options, ('train_dataloader',))
    check_outputs(args, cfg)
    found = datasets_of(cfg, 'train')
    loader = image_loader(found[0][1]) if found else None
    if not isinstance(loader, LoadImageFromFile):
        raise ConfigError(f'{args.config} loads images in colour: name the bands to read, such as --cfg-options '
                          'custom_data.bands=[4,3,2]')
    measured = measure(image_paths(cfg, 'train'), loader.bands, images=args.images)
    statistics = measured.statistics
    print(f'{measured.images} image{"s" * (measured.images != 1)} of {measured.kind}')
    print(as_text(['band', 'mean', 'std', 'lowest', 'highest', 'missing'], [
        [str(number), f'{mean:g}', f'{std:g}', f'{low:g}', f'{high:g}', f'{absent / (absent + count):.1%}']
        for number, mean, std, low, high, absent, count in zip(loader.bands, measured.mean, measured.std, *(
            values.tolist() for values in (statistics.low, statistics.high, statistics.absent, statistics.count)))]))
    if not args.out:
        return
    given = read_config(args.config, args.cfg_options, (), find_data=False)
    if not given.get('custom_data'):
        raise ConfigError(f'--out: {args.config} has no custom_data, whose bands the new config would name')
    text = config_text(dict(
        data_root=str(Path(given.data_root).expanduser().resolve()), custom_data=given.custom_data,
        model=dict(data_preprocessor=dict(mean=measured.mean, std=measured.std))),
        str(find_config(args.config).resolve()))
    replace(args.out, lambda path: path.write_text(text, encoding='utf-8'))
    print(f'config: {shown(args.out)}')
