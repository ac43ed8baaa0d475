"""Set a part of a data set of your own aside for validation, or divide it into folds.

Takes a folder with one COCO annotation file, annotations in another format, or images and masks. Writes
FOLDER/splits/{train,val}.json, in COCO's format, or .txt, which the custom configs find; with --folds, a pair of them
in FOLDER/splits/fold-0 and so on, of which custom_data.fold chooses one.
"""
import argparse
import os.path as osp
import shlex

from ..errors import ConfigError, DataError
from ..printable import shown


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folder', help='the data set')
    parser.add_argument('--val', type=float, help='share of the images to validate with; default: 0.2')
    parser.add_argument('--folds', type=int, metavar='K',
                        help='divide the images into K parts of one size and with the same classes, one to validate '
                        'with in each of K trainings')
    parser.add_argument('--groups', metavar='FILE',
                        help='file with a line IMAGE,GROUP for each image: all images of a group, such as those of one '
                        'scene, go into the same part')
    parser.add_argument('--seed', type=int, default=0, help='random seed of the choice; default: 0')


def run(args: argparse.Namespace) -> None:
    from ..datasets.split import FOLDER, check_unsplit, write_split
    from ..preflight.splitting import divide, divisible

    if args.val is not None and args.folds is not None:
        raise ConfigError('--val and --folds exclude each other: with 5 folds a fifth is validated with')
    if not osp.isdir(args.folder):
        raise DataError(f'{args.folder}: no such folder')
    if args.seed < 0:
        raise ConfigError(f'--seed is {args.seed}: expected a whole number from 0')
    check_unsplit(args.folder)
    images = divisible(args.folder, args.folds is not None)
    division = divide(args.folder, images, 0.2 if args.val is None else args.val, args.folds, args.seed, args.groups)
    paths = write_split(osp.join(args.folder, FOLDER), division.texts())
    for note in division.notes:
        print(note)
    print('; '.join(f'{shown(path)}: {division.count(name)} images' for path, name in zip(paths, division.parts)
                    if args.folds is None or path.stem == 'val'))
    if args.folds is not None:
        print('Train on each fold:')
        for fold in range(args.folds):
            print(f'  mmvision-mamba train {shlex.quote(args.folder)} --cfg-options custom_data.fold={fold}')
