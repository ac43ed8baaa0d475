"""Data sets of one's own: a config gets the classes, annotation files and folders that are found below a folder.

A config with ``custom_data = dict(format=None)`` gets them when a tool reads it, in whatever layout of those that fit
the model they are; what is written to the work directory is an ordinary config. What the user has set stays.
"""
import os
import os.path as osp
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from mmengine import Config

from ..datasets import formats
from ..datasets.class_names import BACKGROUND, background_of, is_background
from ..datasets.coco_annotations import check_files, unreadable
from ..datasets.colour_maps import are_coloured, count_colours
from ..datasets.map_drawing import classes_of_maps
from ..datasets.merged_classes import Merged
from ..errors import ConfigError, DataError
from ..printable import shown
from ..processes import warn_once
from ..text import check_names, did_you_mean, shortened
from . import coco_folder, mask_folder
from .annotation_files import joined, use_mended_coco
from .bands import check_bands, use_bands
from .check_model import class_counts, weights_of_classes
from .class_choice import (
    choice_note,
    chosen_classes,
    chosen_for_maps,
    codes_of,
    matching_classes,
    stand_for_themselves,
)
from .datasets import SPLITS, data_root_advice, datasets_of
from .folds import use_fold
from .given import Given
from .image_scale import use_size
from .keys import arguments_of
from .layouts import OBJECTS, find_objects
from .map_loading import use_map_loader
from .missing import check_present
from .other_layouts import seen_instead
from .splits import check_splits, stand_in_for_tests, warn_of_shared
from .tiles import KEYS as TILES
from .tiles import use_tiles

_FORMATS = (*OBJECTS, 'image_mask')


class _Tests(NamedTuple):
    """How a folder's data are used: whether to test on alone, and by a model of which classes (None: the config's)."""
    alone: bool
    classes: Sequence[str] | None


class _Found(NamedTuple):
    """What a folder holds.

    Attributes:
        classes: their names.
        splits: {split: settings of its data set}, of 'train', 'val' and 'test'.
        note: on it, for the user.
        merged: which categories become one class, see `merge_categories`. None: each is one of its own.
    """
    classes: tuple[str, ...]
    splits: dict[str, dict]
    note: str
    merged: Merged | None = None


def use_custom_data(cfg: Config, refuse_broken: bool = False, builds_model: bool = True,
                    trained: bool = False, tests: bool = False,
                    model_classes: Sequence[str] | None = None) -> str | None:
    """Replace `cfg.custom_data` by the classes and paths of the data below `cfg.data_root`.

    A value of the data sets, evaluators and heads stays if the user has set it, in the config or on the command line;
    see `Given`.

    Args:
        cfg: changed in place: data sets, evaluators, the heads' numbers of classes. Its `custom_data` holds `format`
            (one of `_FORMATS`; None: looked for) and, where the search should not decide, `train`, `val` and `test`:
            an annotation file, a text file of names, or a data set's name as in `formats`; `fold` takes those of a
            fold, see `use_fold`. `classes` chooses, see `chosen_classes`; `size` is that of images, see `use_size`;
            `boxes` says what the boxes of COCO files are, see `convert_boxes`; `colours` which colours of masks stand
            for the classes; `bands` which bands of images are read, `shown_bands` which of them pictures show; `tile`
            and the others of `tiles.KEYS`, how pictures are cut.
        refuse_broken: raise for broken masks now, rather than leave them to later checks. Default: False.
        builds_model: whether the model is to be built, for which bands are measured; see `use_bands`. Default: True.
        trained: whether a checkpoint is to be loaded into it; see `use_bands`. Default: False.
        tests: whether the data are only tested on, and a split for that is enough. Default: False.
        model_classes: names of the labels that a model gives which is no part of the config; the data's classes become
            these, see `matching_classes`, where `classes` does not choose. Default: none.

    Returns:
        Lines that sum up the data, for the user; None if the config has no `custom_data`.

    Raises:
        ConfigError: a wrong key or format.
        DataError: the folder is missing, has no annotations or no validation split, or they can't be used.
    """
    if not cfg.get('custom_data'):
        return None
    if not isinstance(cfg.custom_data, dict):
        raise ConfigError(f'custom_data is {shown(cfg.custom_data)!r}: expected a dict, such as dict(format=…)')
    settings = dict(cfg.custom_data)
    check_names(settings, ('format', *SPLITS, 'fold', 'classes', 'size', 'boxes', 'colours', 'bands', 'shown_bands',
                           *TILES), 'custom_data has no key')
    if settings.get('format') not in (None, *_FORMATS):
        raise ConfigError(f"custom_data.format must be one of {', '.join(map(repr, _FORMATS))}, or None to look, got "
                          f"'{shown(settings['format'])}'")
    for split in SPLITS:
        if not isinstance(settings.get(split), str | None):
            raise ConfigError(f'custom_data.{split} is {shown(settings[split])}: expected the name of a file or a '
                              'split')
    if not isinstance(cfg.get('data_root'), str):
        raise ConfigError(f'custom_data: the config has no data_root, the folder of your data: {data_root_advice(cfg)}')
    root = osp.expanduser(cfg.data_root).rstrip('/') or '/'
    if not osp.isdir(root):
        raise DataError(f'{root}: no such folder{"" if osp.isabs(root) else " in " + os.getcwd()}. Your data: '
                        f'{data_root_advice(cfg)}.\nTo use a trained model without its data, take the config that '
                        'lies in its work directory')
    check_bands(settings)
    given, use = Given(cfg), _Tests(tests, model_classes)
    for split in SPLITS:  # as good as a file named in custom_data
        for where, _, _ in datasets_of(cfg, split):
            if file := given(f'{where}.ann_file'):
                settings[split] = file
    use_fold(root, settings)
    objects_named = any(isinstance(name, str) and (name.endswith('.json') or formats.source_of(osp.join(root, name)))
                        for name in map(settings.get, SPLITS))
    if cfg.default_scope == 'mmseg' and settings.get('format') in (None, 'image_mask') and not objects_named and (
            masks := mask_folder.find_image_mask(root, settings)):
        found = _image_mask(cfg, root, settings, masks, given, refuse_broken, use)
    elif settings.get('format') == 'image_mask':
        raise DataError(f'{root}: no folders of images and masks there{seen_instead(root, "image_mask")}.\n'
                        f'{mask_folder.LAYOUT}')
    elif cfg.default_scope == 'mmseg':
        found = _drawn(cfg, root, settings, given, use)
    else:
        found = _objects(cfg, root, settings, given, use)
        use_mended_coco(cfg, settings.get('boxes'), found.merged)
    for split in SPLITS:
        for where, dataset, cls in datasets_of(cfg, split):
            values = dict(data_root=root, metainfo=dict(classes=found.classes), **found.splits[split])
            # A data set of another type, which the user has set, may lack some.
            _fill(dataset, {key: value for key, value in values.items() if key in arguments_of(cls)}, where, given)
        for where, metric in _metrics(cfg, split):
            if 'ann_file' in metric and not given(f'{where}.ann_file'):
                first = next((dataset for _, dataset, _ in datasets_of(cfg, split)), {})
                metric['ann_file'] = joined(first, first.get('ann_file'))
    for where, head, key in class_counts(cfg.model, 'model'):
        if given(f'{where}.{key}') is None:
            head[key] = 0 if key == 'num_stuff_classes' else len(found.classes)
        if weights_of_classes(head) is not None and given(f'{where}.loss_cls.class_weight') is None:
            head['loss_cls']['class_weight'] = [1.0] * len(found.classes) + [0.1]
    if settings.get('size') is not None:
        use_size(cfg, settings['size'], given)
    note = found.note + use_bands(cfg, settings, given, builds_model, refuse_broken, trained)
    note += use_tiles(cfg, settings, given)
    cfg.data_root = root
    cfg.pop('custom_data')
    number = len(found.classes)
    return (f'Data: {root}: {number} {"class" if number == 1 else "classes"} ({shortened(found.classes)}); '
            f'{note}')


def _fill(target: dict, values: dict, where: str, given: Given) -> None:
    """Set the values, at any depth, that are not given."""
    for key, value in values.items():
        if isinstance(value, dict):
            if not target.get(key):
                target[key] = {}
            _fill(target[key], value, f'{where}.{key}', given)
        elif given(f'{where}.{key}') is None:
            target[key] = value


def _metrics(cfg: Config, split: str) -> Iterator[tuple[str, dict]]:
    """(place, dict) of each metric of a split's evaluator."""
    evaluator = cfg.get(f'{split}_evaluator')
    if isinstance(evaluator, dict):
        yield f'{split}_evaluator', evaluator
    for i, metric in enumerate(evaluator if isinstance(evaluator, list) else ()):
        yield f'{split}_evaluator.{i}', metric


def _given_classes(cfg: Config, given: Given) -> tuple[str, ...] | None:
    """The classes that the config names for training, and so for all; None where it names none."""
    classes = next((given(f'{where}.metainfo.classes') for where, _, _ in datasets_of(cfg, 'train')), None)
    return tuple(classes) if classes else None


def _matched(use: _Tests, settings: dict, known: Collection[str], contents: dict[str, dict] | None, root: str,
             partly: bool = False) -> Merged | None:
    """The classes of a model in the data that it is tested on; None where the data's own are taken, or the user's.

    Args:
        known: the classes of the data.
        contents: of annotation files, by split. None: something is of each class.
        root: the folder.
        use, settings, partly: see `_Tests`, `use_custom_data` and `matching_classes`.
    """
    if not use.classes or settings.get('classes') is not None:
        return None
    used = known
    if contents is not None:
        content = contents.get('test', contents['val'])
        ids = {annotation.get('category_id') for annotation in content.get('annotations') or ()}
        used = [category['name'] for category in content['categories'] if category.get('id') in ids]
    return matching_classes(use.classes, known, used, root, partly)


def _for_testing(splits: dict) -> str:
    """Let 'val' stand for a missing test split; returns that, for the user."""
    if 'test' in splits:
        return ''
    splits['test'] = splits['val']
    return '; no test split: testing uses val'


def _is_unannotated(content: dict | None) -> bool:
    """Whether a split that is there has no objects, nor any that could not be read."""
    return content is not None and not content.get('annotations') and not unreadable(content)


def _objects(cfg: Config, root: str, settings: dict, given: Given, use: _Tests) -> _Found:
    """What a folder of annotated objects holds."""
    masks = "'with_mask': True" in str(cfg.train_dataloader)
    layout, files = find_objects(root, settings, masks=masks)
    if layout != 'coco' and settings.get('boxes'):
        raise ConfigError(f'custom_data.boxes is for COCO files, and {root} is {layout}, whose boxes are of one kind')
    one = use.alone and stand_in_for_tests(files)
    check_splits(root, files)
    contents = {split: coco_folder.read_coco(osp.join(root, files[split]), compact=True)
                for split in SPLITS if split in files}
    notes = []
    if _is_unannotated(contents.get('test')) and not settings.get('test'):
        del contents['test']
        notes.append(f'{files["test"]} has no objects to test with')
    known = dict.fromkeys(category['name'] for content in contents.values() for category in content['categories'])
    named = _given_classes(cfg, given)
    chosen = _matched(use, settings, known, contents, root, partly=True) or chosen_classes(
        settings.get('classes'), known, bool(named))
    classes = tuple(class_ for class_, _ in chosen) if chosen else \
        named or tuple(category['name'] for category in contents['train']['categories'])
    if not classes:
        check_files(contents['train'])  # where no object could be read, that is the reason
        raise DataError(f'{root}/{files["train"]}: categories is empty, so there is nothing to learn')
    if not chosen and (absent := [name for name in classes if name not in known]):
        raise DataError(f'{root}: no annotation file has the {"class" if len(absent) == 1 else "classes"} '
                        f'{shortened(absent)} of metainfo.classes{did_you_mean(absent[0], known)}.\nTheir categories: '
                        f'{shortened(known, 20)}')
    annotations = contents['train'].get('annotations') or []
    if masks and annotations and not any(
            isinstance(a, dict) and a.get('segmentation') for a in annotations):
        raise DataError(f'{root}/{files["train"]}: it has boxes and no masks (segmentation), which this config '
                        'learns.\nTake faster_rcnn_mambavision_t_custom')
    splits, images = {}, {}
    for split, content in contents.items():
        names = [image['file_name'] for image in content['images']]
        places = [given(f'{where}.data_prefix.img') for where, _, _ in datasets_of(cfg, split)]
        if source := formats.source_of(files[split]):
            folder = source.folder
        elif places and places[0] is not None:
            folder = places[0]
        else:
            folder = coco_folder.image_folder(root, files[split], names, split)
        splits[split] = dict(ann_file=files[split], data_prefix=dict(img=folder))
        images[split] = [osp.join(folder, name) for name in names]
        if not one or split == 'test':
            notes.append(f'{split}: {len(names)} images, {files[split]}')
    if not one:
        warn_of_shared(images)
    merged = None
    if chosen:
        merged = None if stand_for_themselves(chosen) else chosen
        notes[:0] = filter(None, [choice_note(chosen, known, 'left out')])
    return _Found(classes, splits, '; '.join(notes) + _for_testing(splits), merged)


def _drawn(cfg: Config, root: str, settings: dict, given: Given, use: _Tests) -> _Found:
    """What a folder of outlined objects holds, drawn as maps."""
    _, files = find_objects(root, settings, maps=True)
    one = use.alone and stand_in_for_tests(files)
    check_splits(root, files)
    contents = {split: coco_folder.read_coco(osp.join(root, files[split]), compact=True)
                for split in SPLITS if split in files}
    if _is_unannotated(contents.get('test')) and not settings.get('test'):
        del contents['test']
    train = contents['train']
    if not any(isinstance(a, dict) and a.get('segmentation') for a in train.get('annotations') or ()):
        if not train.get('annotations'):
            check_files(train)
        raise DataError(f'{root}/{files["train"]}: it has boxes and no outlines, which a segmentor learns.\n'
                        'Take faster_rcnn_mambavision_t_custom')
    names = tuple(category['name'] for category in train['categories'])
    classes = _given_classes(cfg, given) or ()
    known = dict.fromkeys(c['name'] for content in contents.values() for c in content['categories'])
    known = dict.fromkeys((background_of(known), *known))
    chosen = _matched(use, settings, known, contents, root) or chosen_for_maps(
        settings.get('classes'), known, bool(classes))
    if chosen:
        classes = tuple(class_ for class_, _ in chosen)
    elif classes and classes[0] in names and not is_background(classes[0]):
        raise ConfigError(f"metainfo.classes begins with '{shown(classes[0])}', a class of objects: put the one of "
                          f"pixels that no object covers before it, such as '{BACKGROUND}'")
    try:
        classes = classes or classes_of_maps(names)
    except DataError as error:
        raise DataError(f'{root}/{files["train"]}: {error}, by metainfo.classes') from error
    splits, paths = {}, {}
    notes = ['outlines drawn as maps', *filter(None, [chosen and choice_note(chosen, known, 'unlabelled')])]
    for split, content in contents.items():
        source = formats.source_of(files[split])
        images = [image['file_name'] for image in content['images']]
        folder = source.folder if source else coco_folder.image_folder(root, files[split], images, split)
        paths[split] = [osp.join(folder, name) for name in images]
        splits[split] = dict(ann_file=files[split], data_prefix=dict(img_path=folder, seg_map_path=''),
                             **(dict(merged=chosen) if chosen else {}))
        if not one or split == 'test':
            notes.append(f'{split}: {len(images)} images, {files[split]}')
    if not one:
        warn_of_shared(paths)
    use_map_loader(cfg, drawn=True)
    return _Found(classes, splits, '; '.join(notes) + _for_testing(splits))


def _image_mask(cfg: Config, root: str, settings: dict, splits: dict[str, dict], given: Given,
                refuse_broken: bool, use: _Tests) -> _Found:
    """What a folder of images and masks holds."""
    one = use.alone and stand_in_for_tests(splits)
    check_splits(root, {split: dataset['data_prefix']['img_path'] for split, dataset in splits.items()})
    pairs: dict[str, Any] = {}
    notes: list[str] = []
    for split in SPLITS:
        if split not in splits:
            continue
        if one and pairs:  # the same images
            pairs[split] = next(iter(pairs.values()))
            continue
        dataset = splits[split]
        found = mask_folder.pairs_in(root, dataset)
        if not found.masks:
            images, masks = (osp.join(root, dataset['data_prefix'][key]) for key in ('img_path', 'seg_map_path'))
            check_present(dataset.get('ann_file', images), [image for image, _ in found.pairs])
            check_present(masks, [mask for _, mask in found.pairs], 'masks')
        pairs[split] = found
        notes.append(f'{"test" if one else split}: {len(found.pairs)} images')
        notes += found.notes
    if not one:
        warn_of_shared({split: [image for image, _ in found.pairs] for split, found in pairs.items()})
    folder = mask_folder.folder_of_names(root, splits)
    colours = mask_folder.class_colours(folder, settings.get('colours'))
    named = _given_classes(cfg, given)
    if colours and are_coloured(next((mask for found in pairs.values() for mask in found.masks), '')):
        chosen = _matched(use, settings, colours, None, root) or chosen_for_maps(
            settings.get('classes'), colours, bool(named))
        classes, codes, left = codes_of(chosen, tuple(colours), [list(colour) for colour in colours.values()])
        counts = {split: dict(zip(colours, count_colours(list(dict.fromkeys(found.masks)), list(colours.values()),
                                                         refuse_broken).tolist())) for split, found in pairs.items()}
        _check_labels(root, splits, chosen or [(name, [name]) for name in colours], counts)
        for dataset in splits.values():
            dataset.update(colours=codes, ignored=left, ann_file=dataset.get('ann_file', ''))
        use_map_loader(cfg)
        notes[:0] = ['masks by colour', *filter(None, [chosen and choice_note(chosen, colours, 'unlabelled')])]
        return _Found(classes, splits, '; '.join(notes) + _for_testing(splits))
    read = mask_folder.read_values(root, pairs, named or mask_folder.class_names(folder) or use.classes, (
        'Replace the file, or leave such files out with --skip-bad-images') if refuse_broken else None)
    known, values, ignored = read.classes, read.values, read.ignored
    chosen = _matched(use, settings, known, None, root) or chosen_for_maps(
        settings.get('classes'), known, bool(named))
    counts = {split: {name: int(found.pixels[value]) for name, value in zip(known, values)}
              for split, found in read.of.items()}
    _check_labels(root, splits, chosen or [(name, [name]) for name in known], counts, {
        split: list(found.first) for split, found in read.of.items()})
    classes, codes, left = codes_of(chosen, known, values)
    ignored = (*ignored, *left)
    for dataset in splits.values():
        dataset.update(values=codes, ignored=ignored, ann_file=dataset.get('ann_file', ''))
    unlabelled = sorted({*ignored, *({255} & {*read.found.first} - {*values})})
    share = read.found.pixels[unlabelled].sum() / max(1, read.found.pixels.sum())
    notes[:0] = [f'pixel values {shortened(codes)}' + (
        f', unlabelled: {", ".join(map(str, unlabelled))} ({share:.1%} of the pixels)' if unlabelled else ''),
        *filter(None, [chosen and choice_note(chosen, known, 'unlabelled')])]
    return _Found(classes, splits, '; '.join(notes) + _for_testing(splits))


def _check_labels(root: str, splits: dict[str, dict], classes: Merged, pixels: dict[str, dict[str, int]],
                  seen: dict[str, list] | None = None) -> None:
    """Raise DataError where all pixels of a split are unlabelled; warn where training has none of a class.

    Args:
        root: the folder.
        splits: as `find_image_mask` returns them.
        classes: (class, names in the masks that it stands for).
        pixels: {split: {name: pixels of its masks}}.
        seen: {split: what its masks have}, for the message. Default: the names that have pixels.
    """
    for split, purpose in (('train', 'learn from'), ('val', 'measure')):
        there = seen[split] if seen else [name for name, count in pixels[split].items() if count]
        absent = [class_ for class_, names in classes if not any(pixels[split][name] for name in names)]
        if len(absent) == len(classes) and there:
            raise DataError(f'{osp.join(root, splits[split]["data_prefix"]["seg_map_path"])}: nothing to {purpose} '
                            f'({split}): all pixels of its masks are unlabelled ({shortened(there)}).'
                            '\nWay out: masks with the values of classes, or other images in this split')
        if absent and split == 'train':
            warn_once(f'train: no pixel of {shortened(absent)}')
