"""What a folder holds that has not what a config looks for, and the way to that."""
import os.path as osp
import posixpath
import re

from ..datasets.folders import IMAGES, walk
from ..files import open_file
from ..text import shortened
from .coco_folder import find_coco, other_json
from .mask_folder import find_image_mask

_TO_COCO = 'Export them from the label tool as COCO, YOLO, Pascal VOC or LabelMe'


def seen_instead(root: str, wanted: str) -> str:
    """' (these look like …: way out)' of the first known kind of data in a folder; '' where there is none.

    Args:
        root: the folder.
        wanted: 'objects' or 'image_mask', which has not been found.
    """
    for look in (_masks if wanted == 'objects' else _coco, _yolo, _xml, _json, _tables, _turned, _classes, _images):
        if found := look(root):
            what, way = found
            return f': {what}.\n{way}'
    return ''


def _masks(root: str) -> tuple[str, str] | None:
    splits = find_image_mask(root)
    if not splits:
        return None
    prefix = next(iter(splits.values()))['data_prefix']
    return (f'these look like images and masks ({prefix["img_path"]}, {prefix["seg_map_path"]})',
            'Take upernet_mambavision_t_custom for them')


def _coco(root: str) -> tuple[str, str] | None:
    files = find_coco(root)
    if not files:
        return None
    return (f'these look like COCO annotations ({shortened(files.values(), 3)})',
            'Take cascade_mask_rcnn_mambavision_t_custom or faster_rcnn_mambavision_t_custom for them')


def _first(root: str, suffix: str, accept) -> str | None:
    """The first file below `root` with a suffix whose first line of text `accept` takes."""
    for folder, names in walk(root):
        for name in names:
            if name.lower().endswith(suffix):
                try:
                    with open_file(osp.join(root, folder, name)) as file:
                        if accept((file.read(1000) or b'').decode('utf-8-sig', errors='replace')):
                            return posixpath.join(folder, name)
                except OSError:
                    continue
    return None


def _yolo(root: str) -> tuple[str, str] | None:
    def is_label(text):
        try:
            label, *fractions = text.split('\n', 1)[0].split()
            return label.isdigit() and len(fractions) >= 4 and all(-0.5 <= float(f) <= 1.5 for f in fractions)
        except ValueError:
            return False
    label = _first(root, '.txt', is_label)
    return (f'these look like YOLO labels ({label})',
            'Put their images beside them, or into images/ where these are in labels/') if label else None


def _xml(root: str) -> tuple[str, str] | None:
    cvat = _first(root, '.xml', lambda text: '<annotations' in text)
    return (f'these look like CVAT annotations ({cvat})', _TO_COCO) if cvat else None


def _json(root: str) -> tuple[str, str] | None:
    found = other_json(root)
    if not found:
        return None
    kind = max(found, key=lambda kind: len(found[kind]))
    return f'the .json files are {kind} ({shortened(found[kind], 2)})', _TO_COCO


def _tables(root: str) -> tuple[str, str] | None:
    def has_boxes(text):
        head = text.split('\n', 1)[0].lower().replace('"', '').replace(';', ',')
        return {'xmin', 'ymin'} <= {*map(str.strip, head.split(','))}

    def has_corners(text):
        name, *boxes = text.split('\n', 1)[0].split() or ['']
        return name.lower().endswith(IMAGES) and bool(boxes) and all(
            box.count(',') == 4 and box.replace(',', '').isdigit() for box in boxes)
    table = _first(root, '.csv', has_boxes) or _first(root, '.txt', has_corners)
    return (f'these look like boxes in a table ({table})', _TO_COCO) if table else None


def _turned(root: str) -> tuple[str, str] | None:
    """Boxes with four corners, a class and a difficulty, of DOTA."""
    def has_corners(text):
        lines = [line.split() for line in text.splitlines()[:3]]
        return any(len(line) in (9, 10) and all(re.fullmatch(r'-?[0-9]+(\.[0-9]*)?', word) for word in line[:8])
                   and not line[8].replace('.', '').isdigit() for line in lines)
    label = _first(root, '.txt', has_corners)
    return (f'these look like the turned boxes of DOTA ({label})',
            'Write them as COCO annotations, the four corners as segmentation') if label else None


def _classes(root: str) -> tuple[str, str] | None:
    images = [folder for folder, names in walk(root, 2) if folder and any(n.lower().endswith(IMAGES) for n in names)]
    if len({posixpath.basename(folder) for folder in images}) < 2:
        return None
    return (f'there are images alone, in folders ({shortened(images, 3)})',
            'Where each folder is a class, take a classifier: docs/classification.md')


def _images(root: str) -> tuple[str, str] | None:
    image = next((posixpath.join(folder, name) for folder, names in walk(root) for name in names
                  if name.lower().endswith(IMAGES)), None)
    return (f'there are images without annotations ({image})', 'Annotate them, and export that beside them') if image \
        else None
