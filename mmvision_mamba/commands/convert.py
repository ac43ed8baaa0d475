"""Write a data set in another format: COCO, YOLO, Pascal VOC, or images and masks.

SRC is a folder in any layout of docs/data.md. DST is a new folder: images are copied, nothing is overwritten. Of masks
each connected area of a class becomes an object. What the format has no place for is said, with counts.
"""
import argparse
import os.path as osp
from collections import Counter
from pathlib import Path

from ..errors import ConfigError, DataError
from ..printable import shown

TARGETS = ('coco', 'yolo', 'voc', 'masks')


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('source', metavar='SRC', help='the data set')
    parser.add_argument('out', metavar='DST', type=Path, help='folder to write, which is not there or empty')
    parser.add_argument('--to', required=True, choices=TARGETS, help='the format')
    parser.add_argument('--format', choices=('coco', 'yolo', 'voc', 'voc_instances', 'labelme', 'image_mask'),
                        help='the format of SRC; default: looked for')
    parser.add_argument('--link', action='store_true', help='make symbolic links to the images in the place of copies')


def run(args: argparse.Namespace) -> None:
    from ..datasets.formats.writing import write
    from ..preflight.layouts import find_objects, seek_objects
    from ..preflight.mask_folder import find_image_mask

    root = osp.expanduser(args.source).rstrip('/') or '/'
    if not osp.isdir(root):
        raise DataError(f'{shown(args.source)}: no such folder')
    if args.out.is_symlink() or (args.out.exists() and not (args.out.is_dir() and not any(args.out.iterdir()))):
        raise ConfigError(f"'{shown(args.out)}' exists: name a new folder, nothing is overwritten")
    if Path(root).resolve() in args.out.resolve().parents:
        raise ConfigError(f"'{shown(args.out)}' lies in the data: name a folder elsewhere")
    lost: Counter = Counter()
    masks = find_image_mask(root) if args.format == 'image_mask' or (
        args.format is None and seek_objects(root, {}) is None) else {}
    if masks:
        splits = _masks(root, masks, args.to, lost)
    elif args.format == 'image_mask':
        raise DataError(f'{shown(root)}: there are no folders of images and masks')
    else:
        splits = _objects(root, find_objects(root, dict(format=args.format))[1], lost)
    if 'all' in splits and 'train' not in splits:
        splits['train'] = splits.pop('all')
    write(args.to, splits, args.out, args.link)
    counts = [f'{name}: {len(split.content["images"])} images' + (
        '' if masks and args.to == 'masks' else f', {len(split.annotations)} objects')
        for name, split in splits.items()]
    print(f'{shown(args.out)}: {"; ".join(counts)}')
    lines = [f'{count:,} {what}' for what, count in lost.items() if count]
    print(f'lost: {"; ".join(lines) or "nothing"}')


def _objects(root: str, files: dict[str, str], lost: Counter) -> dict:
    """{split: `Split`} of a folder of annotated objects."""
    from ..datasets import formats
    from ..datasets.coco_annotations import check_files, coco_problems
    from ..datasets.coco_files import read_coco
    from ..datasets.formats.writing import Split
    from ..datasets.problems import KINDS
    from ..preflight.coco_folder import image_folder
    from ..preflight.missing import check_present

    splits = {}
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
        splits[split] = Split(content, folder, lost)
    return splits


def _masks(root: str, found: dict[str, dict], target: str, lost: Counter) -> dict:
    """{split: `Split`} of a folder of images and masks."""
    from ..datasets.class_names import is_background
    from ..datasets.formats.writing import Split
    from ..datasets.image_mask import ImageMaskDataset
    from ..datasets.image_sizes import upright_size
    from ..datasets.loading import CheckedAnnotations
    from ..datasets.map_loading import LoadAnnotations
    from ..datasets.mapped_objects import content_of_maps
    from ..preflight.mask_folder import read_masks
    from ..preflight.missing import check_present

    maps = read_masks(root, found)
    background = next((label for label, name in enumerate(maps.classes) if is_background(name)),
                      None if maps.named else 0)
    if not maps.named and not is_background(maps.classes[0]):
        print(f'{shown(root)}: {maps.classes[0]} is taken for what no object covers; name the classes in classes.txt')
    loader, splits = CheckedAnnotations(LoadAnnotations(), range(len(maps.classes))), {}
    for split, settings in found.items():
        dataset = ImageMaskDataset(data_root=root, metainfo=dict(classes=maps.classes), pipeline=[],
                                   **dict(settings, **maps.settings))
        infos = {i: dataset.get_data_info(i) for i in range(len(dataset))}
        for kind, key in (('images', 'img_path'), ('masks', 'seg_map_path')):
            check_present(root, [info[key] for info in infos.values()], kind)
        images = []
        for i, info in infos.items():
            width, height = upright_size(info['img_path'])
            images.append(dict(id=i, file_name=osp.relpath(info['img_path'], root), width=width, height=height))

        def load_map(i, infos=infos, images=images):
            size = images[i]['height'], images[i]['width']
            return loader(dict(infos[i], ori_shape=size, seg_fields=[]))['gt_seg_map']

        if target == 'masks':
            content = dict(images=images, categories=[dict(id=i, name=name) for i, name in enumerate(maps.classes)])
        else:
            content = content_of_maps(images, maps.classes, background, load_map, lost)
        splits[split] = Split(content, root, lost, load_map if target == 'masks' else None)
    return splits
