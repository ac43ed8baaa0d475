"""Custom data sets: find the classes, annotation files and image folders below a folder, and fill a config with them.

A config with ``custom_data = dict(format='coco')`` or ``dict(format='image_mask')`` gets its classes, annotation files
and folders when a tool reads it; what is written to the work directory is an ordinary config.
"""
import os
import os.path as osp
import re
from pathlib import Path

from mmengine import Config

from ..errors import ConfigError, DataError
from ..text import check_names, shortened
from .check_data import read_json
from .check_model import class_counts, weights_of_classes
from .datasets import data_root_advice, datasets_of

SPLIT_NAMES = dict(train=('train', 'training'), val=('val', 'valid', 'validation'), test=('test', 'testing'))
# Words in the names of COCO's annotation files without boxes and masks, such as person_keypoints_val2017.json.
_OTHER_ANNOTATIONS = ('panoptic', 'stuff', 'captions', 'keypoints', 'image')
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


def use_custom_data(cfg: Config) -> str | None:
    """Replace `cfg.custom_data` by the classes and paths of the data below `cfg.data_root`.

    Args:
        cfg: changed in place: data sets, evaluators, the heads' numbers of classes. Its `custom_data` holds `format`
            and, where the search should not decide, `train` and `val`: an annotation file, or a text file of names.

    Returns:
        A line that sums up the data, for the user; None if the config has no `custom_data`.

    Raises:
        ConfigError: a wrong key or format.
        DataError: the folder is missing, has no annotations or no validation split, or they can't be used.
    """
    if not cfg.get('custom_data'):
        return None
    settings = dict(cfg.custom_data)
    valid = ('format', 'train', 'val')
    check_names(settings, valid, 'custom_data has no key')
    if settings.get('format') not in _LAYOUTS:
        raise ConfigError(f"custom_data.format must be one of {', '.join(map(repr, _LAYOUTS))}, got "
                          f'{settings.get("format")!r}')
    root = osp.expanduser(cfg.data_root).rstrip('/') or '/'
    if not osp.isdir(root):
        raise DataError(f'{root}: no such folder{"" if osp.isabs(root) else " in " + os.getcwd()}. Your data: '
                        f'{data_root_advice(cfg)}.\nTo use a trained model without its data, take the config that '
                        'lies in its work directory')
    read_folder = _read_coco_folder if settings['format'] == 'coco' else _read_image_mask_folder
    classes, splits, note = read_folder(cfg, root, settings)
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
    return f'Data: {root}: {len(classes)} {"class" if len(classes) == 1 else "classes"} ({shortened(classes)}); {note}'


def _split_of(path: Path) -> str | None:
    """The split that a relative path names, None without one; the last folder or file name with one counts."""
    for part in reversed(path.parts):
        words = re.split(r'[^a-z]+', part.lower())
        for split, names in SPLIT_NAMES.items():
            if any(name in words for name in names):
                return split
    return None


def _check_splits(root: str, splits: dict, contents: str) -> None:
    if 'val' not in splits:
        raise DataError(f'{root}: {contents}, and nothing to validate with.\nTo set a part of it aside: '
                         f'mmvision-mamba split-dataset {root} --val 0.2')
    if 'train' not in splits:
        raise DataError(f'{root}: {contents}, and nothing to train with. Name it: set custom_data.train=FILE')


def find_coco(root: str, settings: dict | None = None) -> dict[str, str]:
    """{split: annotation file relative to `root`} of a COCO-format folder; 'all' for one that names no split."""
    candidates = {}
    for path in sorted(Path(root).rglob('*.json')):
        relative = path.relative_to(root)
        words = re.split(r'[^a-z]+', path.stem.lower())
        if len(relative.parts) <= 3 and not any(word in words for word in _OTHER_ANNOTATIONS):
            candidates.setdefault(_split_of(relative) or 'all', []).append(str(relative))
    chosen = {}
    for split, files in candidates.items():
        instance_files = [file for file in files if 'instances' in osp.basename(file)]
        split_files = [file for file in files if file.startswith('splits/')]  # of `mmvision-mamba split-dataset`
        chosen[split] = split_files or (instance_files if len(instance_files) == 1 else files)
    for split in ('train', 'val'):
        if (settings or {}).get(split):
            chosen[split] = [settings[split]]
        if len(chosen.get(split, ())) > 1:
            files = chosen[split]
            raise DataError(f'{root}: several annotation files could be the one for {split}: {", ".join(files)}.\n'
                            f'Choose: set custom_data.{split}={files[0]}')
    return {split: files[0] for split, files in chosen.items() if len(files) == 1}


def _read_coco_folder(cfg: Config, root: str, settings: dict):
    """(classes, {split: settings of its data set}, summary for the user) of a folder in COCO format."""
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
                        'learns.\nTake faster_rcnn_mambavision_t_custom')
    folders = {split: _image_folder(root, files[split], content, split) for split, content in contents.items()}
    splits = {split: dict(ann_file=files[split], data_prefix=dict(img=folders[split])) for split in contents}
    note = '; '.join(f'{split}: {len(content["images"])} images, {files[split]}'
                     for split, content in contents.items())
    return classes, splits, note


def read_coco(path: str) -> dict:
    """Content of a COCO annotation file; raises DataError where its images, annotations or categories can't be used."""
    content = read_json(path)
    has_lists = isinstance(content, dict) and all(
        isinstance(content.get(key), list) for key in ('images', 'categories'))
    if not has_lists or not all(isinstance(c, dict) and isinstance(c.get('name'), str) for c in content['categories']):
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
    """Folder, relative to `root`, that the file names of a COCO file start from; preferably one named after `split`."""
    images = content['images']
    names = [images[i]['file_name'] for i in (0, len(images) // 2, -1)]
    folders = {Path(ann_file).parent, Path('.')}
    for folder, subfolders, _ in os.walk(root):
        relative = Path(osp.relpath(folder, root))
        subfolders[:] = sorted(subfolders) if len(relative.parts) < 3 else []
        folders.add(relative)

    def rank(folder):
        named_split = _split_of(folder)
        return (0 if named_split == split else 1 if named_split is None else 2, folder != Path(ann_file).parent,
                len(folder.parts), str(folder))
    for folder in sorted(folders, key=rank):
        if all(osp.exists(osp.join(root, folder, name)) for name in names):
            return '' if folder == Path('.') else str(folder)
    raise DataError(f'{osp.join(root, ann_file)}: its images are nowhere below {root}; looked for {names[0]}.\n'
                    'file_name is the path of an image from one folder, the same for all of them')


def find_image_mask(root: str, settings: dict | None = None) -> dict[str, dict]:
    """{split: arguments for `ImageMaskDataset`} of a folder of images and masks; 'all' where nothing splits it."""
    def subfolder(folder, names):
        entries = sorted(os.listdir(osp.join(root, folder))) if osp.isdir(osp.join(root, folder)) else []
        return next((osp.join(folder, e) for e in entries
                     if e.lower() in names and osp.isdir(osp.join(root, folder, e))), None)

    splits = {}
    images, masks = subfolder('', _IMAGE_FOLDERS), subfolder('', _MASK_FOLDERS)
    for split in ('train', 'val'):
        names = SPLIT_NAMES[split]
        candidates = [(settings or {}).get(split)] + [osp.join(folder, f'{name}.txt') for folder in ('splits', '')
                                                      for name in names]
        names_file = next((file for file in candidates if file and osp.isfile(osp.join(root, file))), None)
        if images and masks:
            pair = subfolder(images, names), subfolder(masks, names)
            if names_file:
                splits[split] = dict(ann_file=names_file, data_prefix=dict(img_path=images, seg_map_path=masks))
            elif all(pair):
                splits[split] = dict(data_prefix=dict(img_path=pair[0], seg_map_path=pair[1]))
        elif split_folder := subfolder('', names):
            pair = subfolder(split_folder, _IMAGE_FOLDERS), subfolder(split_folder, _MASK_FOLDERS)
            if all(pair):
                splits[split] = dict(data_prefix=dict(img_path=pair[0], seg_map_path=pair[1]))
    if not splits and images and masks:
        splits['all'] = dict(data_prefix=dict(img_path=images, seg_map_path=masks))
    return splits


def _read_image_mask_folder(cfg: Config, root: str, settings: dict):
    """(classes, {split: settings of its data set}, summary for the user) of a folder of images and masks."""
    from ..datasets.image_mask import image_mask_pairs, pixel_values
    splits = find_image_mask(root, settings)
    if not splits:
        raise DataError(f'{root}: no folders of images and masks there.\n{_LAYOUTS["image_mask"]}')
    _check_splits(root, splits, f'there is {next(iter(splits.values()))["data_prefix"]["img_path"]}')

    def pairs_of(dataset):
        folders = [osp.join(root, dataset['data_prefix'][key]) for key in ('img_path', 'seg_map_path')]
        return image_mask_pairs(*folders, osp.join(root, dataset['ann_file']) if 'ann_file' in dataset else None)

    pairs = {split: pairs_of(splits[split]) for split in ('train', 'val')}
    mask_with = pixel_values([mask for split_pairs in pairs.values() for _, mask in split_pairs])
    names_file = osp.join(root, 'classes.txt')
    names = None
    if osp.isfile(names_file):
        names = tuple(line.strip() for line in Path(names_file).read_text().splitlines() if line.strip())
    classes, values, ignored = _classes_of_values(root, mask_with, names)
    for dataset in splits.values():
        dataset.update(values=values, ignored=ignored)
    unlabelled = sorted({*ignored, *({255} & set(mask_with))} - set(values))
    note = '; '.join(f'{split}: {len(split_pairs)} images' for split, split_pairs in pairs.items())
    return classes, splits, (f'pixel values {shortened(values)}'
                             + (f', unlabelled: {", ".join(map(str, unlabelled))}' if unlabelled else '') + f'; {note}')


def _classes_of_values(root: str, mask_with: dict[int, str], names: tuple | None) -> tuple[tuple, tuple, tuple]:
    """(classes, pixel value of each, further values that count as unlabelled); 255 is a class only if it must be.

    Args:
        root: of the data.
        mask_with: {pixel value: a mask that has it}.
        names: of the classes, from classes.txt. None: made up.
    """
    present, labels = list(mask_with), [v for v in mask_with if v != 255]
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
        surplus = next((v for v in labels if v >= len(names)), labels[-1])
        raise DataError(f'{root}/classes.txt names {len(names)} classes, but the masks have the values '
                        f'{shortened(present, 20)}: {surplus} is in {mask_with[surplus]}.\nName as many classes '
                        'as there are values other than 255, in their order')
    if binary and len(names) == 2:
        values = present
    if len(names) < 2:
        raise DataError(f'{root}: the masks tell {len(names)} class from nothing else (pixel values '
                        f'{", ".join(map(str, present))}).\nGive the background a class of its own, such as 0')
    return names, tuple(values), ignored
