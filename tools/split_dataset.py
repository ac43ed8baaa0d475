#!/usr/bin/env python3
"""Set a part of a data set of your own aside for validation: tools/split_dataset.py FOLDER --val 0.2."""
import argparse
import json
import os.path as osp
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from anywhere, installed or not

from mmvision_mamba.errors import DataError, MissingExtraError

try:
    from mmvision_mamba.datasets.split import check_unsplit, split_coco, split_names, write_split
    from mmvision_mamba.engine import launch
    from mmvision_mamba.engine.custom_data import find_coco, find_image_mask, read_coco
except MissingExtraError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(2)


def parse_args():
    parser = argparse.ArgumentParser(
        description='Set a part of a folder with one COCO annotation file, or of a folder of images and masks, aside '
        'for validation: writes FOLDER/splits/{train,val}.json or .txt, which the custom configs find.')
    parser.add_argument('folder', help='the data set')
    parser.add_argument('--val', type=float, default=0.2, help='the part to validate with; default: 0.2')
    parser.add_argument('--seed', type=int, default=0, help='of the choice; default: 0')
    return launch.parse_args(parser)


def main():
    args = parse_args()
    with launch.user_errors():
        if not osp.isdir(args.folder):
            raise DataError(f'{args.folder}: no such folder')
        check_unsplit(args.folder)
        coco, masks = find_coco(args.folder), find_image_mask(args.folder)
        if source := coco.get('train', coco.get('all')):
            parts = split_coco(read_coco(osp.join(args.folder, source)), args.val, args.seed)
            counts = {split: len(part['images']) for split, part in parts.items()}
            paths = write_split(args.folder, {split: json.dumps(part) for split, part in parts.items()}, '.json')
        elif 'all' in masks:
            from mmvision_mamba.datasets.image_mask import image_mask_pairs
            folders = [osp.join(args.folder, path) for path in masks['all']['data_prefix'].values()]
            names = [osp.splitext(osp.relpath(image, folders[0]))[0] for image, _ in image_mask_pairs(*folders)]
            parts = dict(zip(('train', 'val'), split_names(names, args.val, args.seed)))
            counts = {split: len(part) for split, part in parts.items()}
            paths = write_split(args.folder, {split: '\n'.join(part) + '\n' for split, part in parts.items()}, '.txt')
        else:
            raise DataError(f'{args.folder}: neither one COCO annotation file nor folders of images and masks without '
                            'a split of their own')
        print('; '.join(f'{path}: {counts[path.stem]} images' for path in paths))


if __name__ == '__main__':
    main()
