"""A data set of your own: what a config needs to know of it, read off its folder.

A config with ``custom_data = dict(format='coco')`` or ``dict(format='image_mask')`` gets its classes, annotation files
and folders when a tool reads it; what is written to the work directory is an ordinary config.
"""
import os
import os.path as osp
import re
from pathlib import Path

from mmengine import Config

from ..backbones.family import did_you_mean
from ..errors import ConfigError, DataError
from .data_checks import read_json
from .dataset_configs import data_root_variable, datasets_of
from .model_checks import class_counts, weights_of_classes

SPLIT_NAMES = dict(train=('train', 'training'), val=('val', 'valid', 'validation'), test=('test', 'testing'))
# Annotation files that speak of something else than boxes and masks.
_OTHER = ('panoptic', 'stuff', 'captions', 'keypoints', 'image')
_IMAGE_FOLDERS = ('images', 'image', 'imgs', 'img', 'img_dir', 'jpegimages', 'leftimg8bit', 'rgb')
_MASK_FOLDERS = ('masks', 'mask', 'annotations', 'annotation', 'labels', 'label', 'ann_dir', 'segmentationclass', 'gt',
                 'gtfine', 'semantic', 'segmentation')
_LAYOUTS = dict(
    coco="""Expected: COCO annotation files with 'train' and 'val' in their names or folders, the images anywhere below:
  annotations/instances_train.json   annotations/instances_val.json   train/   val/        or
  train/_annotations.coco.json       valid/_annotations.coco.json (images beside them)      or the like""",
    image_mask="""Expected: images, and masks of the same names whose pixel values are class numbers:
  images/{train,val}/   masks/{train,val}/          or
  {train,val}/images/   {train,val}/masks/          or
  images/   masks/   train.txt   val.txt (names without suffix)""")
_SHOWN = 10


def use_custom_data(cfg: Config) -> str | None:
    """Fill in what `cfg.custom_data` stands for; without that key nothing happens.

    Args:
        cfg: changed in place: data sets, evaluators, the heads' numbers of classes. `custom_data` holds `format`, and,
            where the search should not decide, `train` and `val`: an annotation file, or a text file of names.

    Returns:
        What was found, in a line or two.

    Raises:
        ConfigError: a wrong key or format.
        DataError: the folder is missing, has no annotations or no validation split, or they can't be used.
    """
    if not cfg.get('custom_data'):
        return None
    settings = dict(cfg.custom_data)
    valid = ('format', 'train', 'val')
    for key in settings:
        if key not in valid:
            raise ConfigError(f'custom_data has no key {key!r}{did_you_mean(key, valid)}; valid ones: '
                              f'{", ".join(valid)}')
    if settings.get('format') not in _LAYOUTS:
        raise ConfigError(f"custom_data.format must be one of {', '.join(map(repr, _LAYOUTS))}, got "
                          f'{settings.get("format")!r}')
    root = osp.expanduser(cfg.data_root).rstrip('/') or '/'
    if not osp.isdir(root):
        variable = data_root_variable(cfg)
        raise DataError(f'{root}: no such folder{"" if osp.isabs(root) else " in " + os.getcwd()}. Your data: '
                        f'{f"{variable}=FOLDER in the environment, or " if variable else ""}--cfg-options '
                        f'data_root=FOLDER.\nTo use a trained model without its data, take the config that lies in '
                        'its work directory')
    find = _coco if settings['format'] == 'coco' else _image_mask
    classes, splits, note = find(cfg, root, settings)
    for split, changes in (('train', splits['train']), ('val', splits['val']), ('test', splits['val'])):
        for _, dataset, _ in datasets_of(cfg, split):
            dataset.update(data_root=root, metainfo=dict(classes=classes), **changes)
        evaluator = cfg.get(f'{split}_evaluator')
        for metric in evaluator if isinstance(evaluator, list) else [evaluator or {}]:
            if 'ann_file' in metric:
                metric['ann_file'] = osp.join(root, changes['ann_file'])
    for _, head, key in class_counts(cfg.model, 'model'):
        head[key] = 0 if key == 'num_stuff_classes' else len(classes)
        if weights_of_classes(head) is not None:
            head['loss_cls']['class_weight'] = [1.0] * len(classes) + [0.1]
    cfg.data_root = root
    cfg.pop('custom_data')
    shown = ', '.join(classes[:_SHOWN]) + (', …' if len(classes) > _SHOWN else '')
    return f'Data: {root}: {len(classes)} {"class" if len(classes) == 1 else "classes"} ({shown}); {note}'


def _split_of(path: Path) -> str | None:
    """The split that a relative path speaks of, in its last part that does."""
    for part in reversed(path.parts):
        words = re.split(r'[^a-z]+', part.lower())
        for split, names in SPLIT_NAMES.items():
            if any(name in words for name in names):
                return split
    return None


def _check_splits(root: str, splits: dict, found: str) -> None:
    if 'val' not in splits:
        raise DataError(f'{root}: {found}, and nothing to validate with.\nTo set a part of it aside: '
                         f'tools/split_dataset.py {root} --val 0.2')
    if 'train' not in splits:
        raise DataError(f'{root}: {found}, and nothing to train with. Name it: --cfg-options custom_data.train=FILE')


def find_coco(root: str, settings: dict | None = None) -> dict[str, str]:
    """{split: annotation file relative to `root`} of a COCO-format folder; 'all' for one that names no split."""
    found = {}
    for path in sorted(Path(root).rglob('*.json')):
        relative = path.relative_to(root)
        words = re.split(r'[^a-z]+', path.stem.lower())
        if len(relative.parts) <= 3 and not any(word in words for word in _OTHER):
            found.setdefault(_split_of(relative) or 'all', []).append(str(relative))
    chosen = {}
    for split, files in found.items():
        named = [file for file in files if 'instances' in osp.basename(file)]
        splitted = [file for file in files if file.startswith('splits/')]  # tools/split_dataset.py's
        chosen[split] = splitted or (named if len(named) == 1 else files)
    for split in ('train', 'val'):
        if (settings or {}).get(split):
            chosen[split] = [settings[split]]
        if len(chosen.get(split, ())) > 1:
            files = chosen[split]
            raise DataError(f'{root}: several annotation files could be the one for {split}: {", ".join(files)}.\n'
                            f'Choose: --cfg-options custom_data.{split}={files[0]}')
    return {split: files[0] for split, files in chosen.items() if len(files) == 1}


def _coco(cfg: Config, root: str, settings: dict):
    files = find_coco(root, settings)
    if not files:
        raise DataError(f'{root}: no COCO annotation file (.json) there.\n{_LAYOUTS["coco"]}')
    _check_splits(root, files, f'there is {", ".join(files.values())}')
    contents = {split: read_coco(osp.join(root, files[split])) for split in ('train', 'val')}
    classes = tuple(category['name'] for category in contents['train']['categories'])
    if not classes:
        raise DataError(f'{root}/{files["train"]}: categories is empty, so there is nothing to learn')
    annotations = contents['train'].get('annotations') or []
    if "'with_mask': True" in str(cfg.train_dataloader) and annotations and not any(
            isinstance(a, dict) and a.get('segmentation') for a in annotations):
        raise DataError(f'{root}/{files["train"]}: it has boxes and no masks (segmentation), which this config '
                        'learns.\nTake configs/faster_rcnn_mambavision_t_custom.py')
    splits = {split: dict(ann_file=files[split], data_prefix=dict(img=_image_folder(root, files[split], found, split)))
              for split, found in contents.items()}
    note = '; '.join(f'{split}: {len(found["images"])} images, {files[split]}' for split, found in contents.items())
    return classes, splits, note


def read_coco(path: str) -> dict:
    """A COCO annotation file, as far as its images and categories can be used; DataError where they can't."""
    content = read_json(path)
    lists = isinstance(content, dict) and all(isinstance(content.get(key), list) for key in ('images', 'categories'))
    if not lists or not all(isinstance(c, dict) and isinstance(c.get('name'), str) for c in content['categories']):
        raise DataError(f'{path}: a COCO annotation file has the lists images, annotations and categories, whose items '
                        'have an id and a name')
    if not content['images'] or not all(isinstance(i, dict) and isinstance(i.get('file_name'), str)
                                        and isinstance(i.get('id'), int | str) for i in content['images']):
        raise DataError(f'{path}: images is empty, or its items have no file_name or no id')
    annotations = content.get('annotations') or []
    if not isinstance(annotations, list) or not all(
            isinstance(a, dict) and isinstance(a.get('image_id'), int | str) for a in annotations):
        raise DataError(f'{path}: annotations is no list, or its items have no image_id')
    return content


def _image_folder(root: str, ann_file: str, content: dict, split: str) -> str:
    """The folder, relative to `root`, that an annotation file's names start from; one of its own split if there is."""
    images = content['images']
    names = [images[i]['file_name'] for i in (0, len(images) // 2, -1)]
    folders = {Path(ann_file).parent, Path('.')}
    for folder, below, _ in os.walk(root):
        relative = Path(osp.relpath(folder, root))
        below[:] = sorted(below) if len(relative.parts) < 3 else []
        folders.add(relative)

    def rank(folder):
        own = _split_of(folder)
        return (0 if own == split else 1 if own is None else 2, folder != Path(ann_file).parent, len(folder.parts),
                str(folder))
    for folder in sorted(folders, key=rank):
        if all(osp.exists(osp.join(root, folder, name)) for name in names):
            return '' if folder == Path('.') else str(folder)
    raise DataError(f'{osp.join(root, ann_file)}: its images are nowhere below {root}; looked for {names[0]}.\n'
                    'file_name is the path of an image from one folder, the same for all of them')


def find_image_mask(root: str, settings: dict | None = None) -> dict[str, dict]:
    """{split: arguments for `ImageMaskDataset`} of a folder of images and masks; 'all' where nothing splits it."""
    def child(folder, names):
        entries = sorted(os.listdir(osp.join(root, folder))) if osp.isdir(osp.join(root, folder)) else []
        return next((osp.join(folder, e) for e in entries
                     if e.lower() in names and osp.isdir(osp.join(root, folder, e))), None)

    found = {}
    images, masks = child('', _IMAGE_FOLDERS), child('', _MASK_FOLDERS)
    for split in ('train', 'val'):
        names = SPLIT_NAMES[split]
        lists = [(settings or {}).get(split)] + [osp.join(folder, f'{name}.txt') for folder in ('splits', '')
                                                for name in names]
        listed = next((name for name in lists if name and osp.isfile(osp.join(root, name))), None)
        if images and masks:
            pair = child(images, names), child(masks, names)
            if listed:
                found[split] = dict(ann_file=listed, data_prefix=dict(img_path=images, seg_map_path=masks))
            elif all(pair):
                found[split] = dict(data_prefix=dict(img_path=pair[0], seg_map_path=pair[1]))
        elif part := child('', names):
            pair = child(part, _IMAGE_FOLDERS), child(part, _MASK_FOLDERS)
            if all(pair):
                found[split] = dict(data_prefix=dict(img_path=pair[0], seg_map_path=pair[1]))
    if not found and images and masks:
        found['all'] = dict(data_prefix=dict(img_path=images, seg_map_path=masks))
    return found


def _image_mask(cfg: Config, root: str, settings: dict):
    from ..datasets.image_mask import image_mask_pairs, pixel_values
    splits = find_image_mask(root, settings)
    if not splits:
        raise DataError(f'{root}: no folders of images and masks there.\n{_LAYOUTS["image_mask"]}')
    _check_splits(root, splits, f'there is {next(iter(splits.values()))["data_prefix"]["img_path"]}')

    def pairs(part):
        folders = [osp.join(root, part['data_prefix'][key]) for key in ('img_path', 'seg_map_path')]
        return image_mask_pairs(*folders, osp.join(root, part['ann_file']) if 'ann_file' in part else None)

    files = {split: pairs(splits[split]) for split in ('train', 'val')}
    first = pixel_values([mask for split in files.values() for _, mask in split])
    names_file = osp.join(root, 'classes.txt')
    names = None
    if osp.isfile(names_file):
        names = tuple(line.strip() for line in Path(names_file).read_text().splitlines() if line.strip())
    classes, values, ignored = _classes_of_values(root, first, names)
    for part in splits.values():
        part.update(values=values, ignored=ignored)
    unlabelled = sorted({*ignored, *({255} & set(first))} - set(values))
    note = '; '.join(f'{split}: {len(found)} images' for split, found in files.items())
    return classes, splits, (f'pixel values {", ".join(map(str, values[:_SHOWN]))}{", …" * (len(values) > _SHOWN)}'
                             + (f', unlabelled: {", ".join(map(str, unlabelled))}' if unlabelled else '') + f'; {note}')


def _classes_of_values(root: str, first: dict[int, str], names: tuple | None) -> tuple[tuple, tuple, tuple]:
    """(classes, pixel value of each, further values that count as unlabelled). 255 is unlabelled where it can be."""
    present, labels = list(first), [v for v in first if v != 255]
    binary, ignored = present == [0, 255], ()
    if names is None:
        names, values = ('background', 'foreground') if binary else tuple(f'class_{v}' for v in labels), labels
    elif set(labels) <= set(range(len(names))):
        values = range(len(names))
    elif set(labels) <= set(range(len(names) + 1)):
        values, ignored = range(1, len(names) + 1), (0,)
    elif len(names) in (len(labels), len(present)):
        values = labels if len(names) == len(labels) else present
    else:
        odd = next((v for v in labels if v >= len(names)), labels[-1])
        raise DataError(f'{root}/classes.txt names {len(names)} classes, but the masks have the values '
                        f'{", ".join(map(str, present[:20]))}: {odd} is in {first[odd]}.\nName as many classes as '
                        'there are values other than 255, in their order')
    if binary and len(names) == 2:
        values = present
    if len(names) < 2:
        raise DataError(f'{root}: the masks tell {len(names)} class from nothing else (pixel values '
                        f'{", ".join(map(str, present))}).\nGive the background a class of its own, such as 0')
    return names, tuple(values), ignored
