"""Stop before a run that has nothing to learn from or to measure, and say what its loaders use."""
from collections import Counter
from collections.abc import Sequence

from mmengine import Config

from ..datasets.usage import EMPTY, NO_MASK, Usage
from ..errors import DataError
from ..processes import print_once, warn_once
from ..text import class_name, shortened
from .annotation_files import image_folder, loads_annotations, mended_by, metrics_in
from .check_data import CheckedData

_ADVICE = {  # a reason that objects or images are not used: the way out
    'crowds': 'set iscrowd to 0 for objects of one piece',
    'crowds or difficult': 'mark those as neither that can be learned',
    'to be ignored': 'remove ignore from objects to learn',
    'without a usable box': 'give each annotation a bbox: [x, y, width, height] in pixels',
    'of unknown images': 'image_id must be the id of an item of images',
    'of unknown categories': 'category_id must be the id of an item of categories',
    'under a pixel': 'boxes are x, y, width, height in pixels',
    'outside their image': "boxes are x, y, width, height in the image's pixels",
    'of area 0': 'give the objects their area in pixels',
    'on images of unknown size': 'give each image its width and height in pixels',
    'left out as bad': 'replace the bad images',
    'beyond its indices': "the data set's indices choose the images",
    EMPTY: 'annotate the images',
    NO_MASK: 'give each object a segmentation of three points or more, or train without masks (with_mask=False)',
    'other': "set the data set's metainfo=dict(classes=(…)) to names among its categories",
}


def check_usage(cfg: Config, checked: Sequence[CheckedData], splits: Sequence[str]) -> None:
    """Say what the loaders of a run use of their data; refuse a run without anything to learn from or to measure.

    Prints repairs of annotation files, and a line for each split; warns where more than a tenth is not used, or a class
    has no object in training.

    Args:
        cfg: of the run.
        checked: its data sets, as `check_datasets` returns them.
        splits: of 'train', 'val', 'test'.

    Raises:
        DataError: a split that is trained on or measured has nothing.
    """
    seen = set()
    for data in checked:
        if data.path and data.path not in seen:
            seen.add(data.path)
            if data.notes:
                print_once(f'{data.path}: {"; ".join(data.notes)}')
            for problem in data.warnings:
                warn_once(f'{data.path}: {problem.detail}. Way out: {problem.way_out(data.path)}')
    for split in splits:
        datasets = [data for data in checked if data.where.startswith(f'{split}_')
                    and needs_objects(cfg, split, data.dataset)]
        usages = [data.usage for data in datasets]
        if not datasets or None in usages:
            continue
        total = sum(usages, Usage())
        places = shortened(dict.fromkeys(data.path or image_folder(data.dataset) or data.where for data in datasets), 3)
        if why := nothing_left(split, total, datasets[0].path if datasets[0].mendable else None):
            raise DataError(f'{places}: {why}')
        print_once(f'{split}: {total.line()}')
        if total.loses_much:
            lost = total.lost + Counter({why: n for why, n in total.lost_images.items() if why != EMPTY})
            warn_once(f'{split}: more than a tenth is not used: {", ".join(total.reasons)}. Way out: {_advice(lost)}')
        if split == 'train' and total.used_objects and total.unused_classes:
            warn_once(f'train: no object of {shortened(total.unused_classes)}')


def needs_objects(cfg: Config, split: str, dataset: dict) -> bool:
    """Whether a run needs objects in a data set: to train on them, or to measure by them."""
    return loads_annotations(dataset) if split == 'train' else _measures(cfg, split)


def nothing_left(split: str, total: Usage, mendable: str | None = None) -> str | None:
    """Why a split has nothing to learn from or to measure, and the way out, in two lines; None if it has.

    Args:
        split: 'train', 'val' or 'test'.
        total: what its loader uses.
        mendable: annotation file that `mmvision-mamba repair-annotations` would mend. Default: none.
    """
    counts_objects = bool(total.objects or total.classes)
    if total.used_images and (total.used_objects or not counts_objects):
        return None
    if not total.images:
        problem, way_out = 'there is no image', "Way out: see the data set's paths and suffixes, such as img_suffix"
    elif counts_objects and not total.objects:
        problem, way_out = 'there are no objects', 'Way out: annotate the images, or choose another file'
    else:
        what = 'objects' if counts_objects and not total.used_objects else 'images'
        problem = f'none of {getattr(total, what):,} {what} can be used ({", ".join(total.reasons)})'
        way_out = f'Way out: {_advice(total.lost + total.lost_images)}'
    if mendable:
        way_out = mended_by(mendable)
    if split == 'val':
        way_out += '; or train without validation: --cfg-options val_dataloader=None val_cfg=None val_evaluator=None'
    return f'nothing to {"learn from" if split == "train" else "measure"} ({split}): {problem}.\n{way_out}'


def _advice(reasons: Counter) -> str:
    causes = [why for why, _ in reasons.most_common() if why != 'on images that are not used']  # which have their own
    why = causes[0] if causes else 'other'
    if any('min_size' in reason for reason in reasons):
        return "set the data set's filter_cfg.min_size to less than the images' shorter side, such as 1"
    return _ADVICE.get(why, _ADVICE['other'])


def _measures(cfg: Config, split: str) -> bool:
    """Whether the split's evaluator measures something: it may just write predictions."""
    return any(class_name(metric.get('type')).endswith(('Metric', 'Metrics')) and not metric.get('format_only')
               for metric in metrics_in(cfg.get(f'{split}_evaluator')))
