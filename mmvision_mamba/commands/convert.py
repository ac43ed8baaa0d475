"""Write a data set in another format: COCO, YOLO, Pascal VOC, or images and masks.

SRC is a folder in any layout of docs/data.md with annotated objects. DST is a new folder: images are copied, nothing is
overwritten. What the format has no place for is said, with counts.
"""
import argparse
import os.path as osp
from pathlib import Path

from ..errors import ConfigError, DataError
from ..printable import shown

TARGETS = ('coco', 'yolo', 'voc', 'masks')


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('source', metavar='SRC', help='the data set')
    parser.add_argument('out', metavar='DST', type=Path, help='folder to write, which is not there or empty')
    parser.add_argument('--to', required=True, choices=TARGETS, help='the format')
    parser.add_argument('--format', choices=('coco', 'yolo', 'voc', 'labelme'),
                        help='the format of SRC; default: looked for')
    parser.add_argument('--link', action='store_true', help='make symbolic links to the images in the place of copies')


def run(args: argparse.Namespace) -> None:
    from collections import Counter

    from ..datasets import formats
    from ..datasets.coco_annotations import check_files, coco_problems
    from ..datasets.coco_files import read_coco
    from ..datasets.formats.writing import Split, write
    from ..datasets.problems import KINDS
    from ..preflight.coco_folder import image_folder
    from ..preflight.layouts import find_objects
    from ..preflight.missing import check_present

    root = osp.expanduser(args.source).rstrip('/') or '/'
    if not osp.isdir(root):
        raise DataError(f'{shown(args.source)}: no such folder')
    if args.out.is_symlink() or (args.out.exists() and not (args.out.is_dir() and not any(args.out.iterdir()))):
        raise ConfigError(f"'{shown(args.out)}' exists: name a new folder, nothing is overwritten")
    if Path(root).resolve() in args.out.resolve().parents:
        raise ConfigError(f"'{shown(args.out)}' lies in the data: name a folder elsewhere")
    _, files = find_objects(root, dict(format=args.format))
    splits, lost = {}, Counter()
    for split, name in files.items():
        path = osp.join(root, name)
        content, notes = read_coco(path)
        check_files(content)
        errors = [problem for problem in coco_problems(content) if KINDS[problem.kind].level == 'error']
        if errors:
            raise DataError(f'{shown(path)}: {len(errors)} problems, the first: {KINDS[errors[0].kind].what}: '
                            f'{errors[0].where} {errors[0].detail}.\nWay out: {errors[0].way_out(path)}')
        source = formats.source_of(path)
        names = [image['file_name'] for image in content['images']]
        folder = source.folder if source else osp.join(root, image_folder(root, name, names, split))
        check_present(path, [osp.join(folder, image) for image in names])
        for note in [*notes, *(problem.detail for problem in getattr(content, 'problems', ()))]:
            print(f'{shown(path)}: {shown(note)}')
        splits['train' if split == 'all' and 'train' not in files else split] = Split(content, folder, lost)
    write(args.to, splits, args.out, args.link)
    counts = [f'{name}: {len(split.content["images"])} images, {len(split.annotations)} objects'
              for name, split in splits.items()]
    print(f'{shown(args.out)}: {"; ".join(counts)}')
    lines = [f'{count:,} {what}' for what, count in lost.items() if count]
    print(f'lost: {"; ".join(lines) or "nothing"}')
