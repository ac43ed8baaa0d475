"""Set a part of a data set of your own aside for validation.

Takes a folder with one COCO annotation file, annotations in another format, or images and masks. Writes
FOLDER/splits/{train,val}.json, in COCO's format, or .txt, which the custom configs find.
"""
import argparse
import json
import os.path as osp
from collections import Counter

from ..errors import DataError
from ..printable import shown


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folder', help='the data set')
    parser.add_argument('--val', type=float, default=0.2, help='share of the images to validate with; default: 0.2')
    parser.add_argument('--seed', type=int, default=0, help='random seed of the choice; default: 0')


def run(args: argparse.Namespace) -> None:
    from ..datasets.formats import FORMATS, find
    from ..datasets.split import check_unsplit, write_split
    from ..preflight.coco_folder import find_coco
    from ..preflight.mask_folder import find_image_mask

    if not osp.isdir(args.folder):
        raise DataError(f'{args.folder}: no such folder')
    check_unsplit(args.folder)
    coco, masks = find_coco(args.folder), find_image_mask(args.folder)
    if not coco and 'all' not in masks:
        found = [splits for name in FORMATS if (splits := find(args.folder, name))]
        if len(found) > 1:
            one, other, *_ = (next(iter(splits.values())) for splits in found)
            raise DataError(f'{args.folder}: annotations of several formats lie there, such as {one} and {other}.\n'
                            'Move those of all but one elsewhere')
        coco = {split: str(source) for split, source in found[0].items()} if found else {}
    if source := coco.get('train', coco.get('all')):
        counts, texts = _split_coco(osp.join(args.folder, source), args.val, args.seed)
        paths = write_split(args.folder, texts, '.json')
    elif 'all' in masks:
        folders = [osp.join(args.folder, path) for path in masks['all']['data_prefix'].values()]
        counts, texts = _split_image_mask(folders, args.val, args.seed)
        paths = write_split(args.folder, texts, '.txt')
    else:
        raise DataError(f'{args.folder}: neither annotations of objects nor folders of images and masks without a '
                        'split of their own')
    print('; '.join(f'{shown(path)}: {counts[path.stem]} images' for path in paths))


def _split_coco(annotations: str, val: float, seed: int) -> tuple[dict[str, int], dict[str, str]]:
    """Number of images, and content of the file, of each split."""
    from ..datasets.coco_annotations import check_files
    from ..datasets.formats.content import Content
    from ..datasets.split import split_coco
    from ..preflight.coco_folder import read_coco
    content = read_coco(annotations)
    check_files(content)
    parts = split_coco(content.plain() if isinstance(content, Content) else content, val, seed)
    return ({split: len(part['images']) for split, part in parts.items()},
            {split: json.dumps(part) for split, part in parts.items()})


def _split_image_mask(folders: list[str], val: float, seed: int) -> tuple[dict[str, int], dict[str, str]]:
    """As `_split_coco`, for a folder of images and one of masks."""
    from ..datasets.image_mask import find_pairs
    from ..datasets.split import list_of, split_names
    images = [osp.splitext(osp.relpath(image, folders[0]))[0] for image, _ in find_pairs(*folders).pairs]
    names = list(dict.fromkeys(images))  # a.jpg and a.png share a mask: both go into one part
    parts = dict(zip(('train', 'val'), split_names(names, val, seed)))
    counts = Counter(images)
    return ({split: sum(counts[name] for name in part) for split, part in parts.items()},
            {split: list_of(part) for split, part in parts.items()})
