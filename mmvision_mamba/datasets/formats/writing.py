"""Data sets written in the formats that are read; what a format has no place for is counted."""
import io
import json
import os
import os.path as osp
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from xml.sax.saxutils import escape

import cv2
import numpy as np
from PIL import Image

from ...errors import DataError, MissingExtraError
from ...files import read_bytes
from ...limits import IMAGE_BYTES
from ...naming import output_names, relative_paths
from ...printable import shown
from ..bands import read_bands
from ..coco_masks import bitmaps_problem, decoded_columns, mask_area, mask_extent
from ..image_files import image_problem
from ..map_drawing import classes_of_maps, draw, drawn_order
from ..split import list_of
from ..tiff_windows import TiffWindows
from .content import Content
from .images import size_of

_TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')  # that files begin with; the last two are BigTIFFs
_DIGITS = 10  # of a fraction of an image: a thousandth of a pixel stays, up to a million pixels a side


class Split:
    """A split of a data set to write.

    Args:
        content: of a COCO annotation file, sound; see `coco_annotations.coco_problems`.
        folder: that the images' file names start from.
        lost: counts what the written format has no place for, {what: how often}.
        load_map: gives the labels (H, W), uint8, of an image by its id, where the data are such. Default: none.
    """

    def __init__(self, content: dict, folder: str, lost: Counter,
                 load_map: Callable[[int | str], np.ndarray] | None = None):
        content = content.plain() if isinstance(content, Content) else content
        self.content, self.folder, self.lost, self.load_map = content, folder, lost, load_map
        ids = [category['id'] for category in content['categories']]
        self.classes = [category['name'] for category in content['categories']]
        self.label_of = {id_: label for label, id_ in enumerate(ids)}
        images = {image['id'] for image in content['images']}
        self.annotations: list[dict] = []
        self.objects: dict[int | str, list[dict]] = {}
        for annotation in content.get('annotations') or ():
            missing = 'classes' if annotation['category_id'] not in self.label_of else \
                'images' if annotation['image_id'] not in images else None
            if missing:
                lost[f'objects of {missing} that are not there, which are left out'] += 1
                continue
            self.annotations.append(annotation)
            self.objects.setdefault(annotation['image_id'], []).append(annotation)

    def images(self, folder: Path, link: bool) -> Iterator[tuple[dict, str, list[dict]]]:
        """Copy each image, or link to it; yields (its record, its new name without suffix, its objects)."""
        files = [osp.join(self.folder, image['file_name']) for image in self.content['images']]
        names = output_names(relative_paths(files))
        for image, source, name in zip(self.content['images'], files, names):
            target = folder / f'{name}{osp.splitext(image["file_name"])[1].lower()}'
            target.parent.mkdir(parents=True, exist_ok=True)
            content = read_bytes(source, IMAGE_BYTES.value)
            if problem := _problem(content):  # file names in annotations may lead to any file of this machine
                raise DataError(f'{shown(source)}: {problem}')
            if (size := size_of(source)) != (image['width'], image['height']):
                raise DataError(f"{shown(source)}: its size is {' × '.join(map(str, size or ()))} pixels, upright, "
                                f"and its annotations are for {image['width']} × {image['height']}.\nCorrect them, or "
                                'the image: `mmvision-mamba check-dataset` names all such images')
            if link:
                target.symlink_to(osp.abspath(source))
            else:
                target.write_bytes(content)
            yield image, name, self.objects.get(image['id'], [])


def _problem(content: bytes) -> str | None:
    """What is wrong with an image file's content, as `image_problem` says it; TIFFs may have any bands."""
    if content[:4] in _TIFF:
        try:
            tiff = TiffWindows(io.BytesIO(content), '', [1])
            if not tiff.problem:
                read_bands(content, range(1, tiff.bands + 1))
                return None
        except MissingExtraError:
            pass
        except DataError as error:
            return str(error)
    return image_problem(content)


def write(target: str, splits: Mapping[str, Split], out: Path, link: bool = False) -> None:
    """Write a data set.

    Args:
        target: 'coco', 'yolo', 'voc' or 'masks'.
        splits: {'train', 'val', 'test' or 'all': the split}.
        out: a folder, which is empty or not there. It has its name when all is written.
        link: make symbolic links to the images in the place of copies. Default: False.

    Raises:
        DataError: an image can't be copied, or the folder can't be written.
    """
    classes = list(dict.fromkeys(name for split in splits.values() for name in split.classes))
    writer: Callable = dict(coco=_coco, yolo=_yolo, voc=_voc, masks=_masks)[target]
    out = Path(osp.abspath(out))
    part = out.with_name(f'.{out.name[:40]}.{os.getpid()}')
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for name, split in splits.items():
            writer(name, split, part, link, classes)
        if target == 'yolo':
            entries = [f'{name}: {name}/images' for name in splits]
            names = [f'  {i}: {json.dumps(name, ensure_ascii=False)}' for i, name in enumerate(classes)]
            _write_text(part / 'data.yaml', '\n'.join([*entries, 'names:', *names]) + '\n')
        elif target == 'masks':
            names = classes if _are_maps(splits) else classes_of_maps(classes)
            _write_text(part / 'classes.txt', '\n'.join(names) + '\n')
        if not out.exists():
            part.rename(out)
        else:  # it may be the current folder, or another file system
            for path in [*part.iterdir()]:
                shutil.move(path, out / path.name)
    except OSError as error:
        place = str(error.filename or out).replace(str(part), str(out))
        raise DataError(f'{shown(place)}: {error.strerror or error}') from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _are_maps(splits: Mapping[str, Split]) -> bool:
    return all(split.load_map for split in splits.values())


def _write_text(path: Path, text: str) -> None:
    """Write a file of the data set; no image may have its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('x', encoding='utf-8') as file:
        file.write(text)


def _coco(name: str, split: Split, out: Path, link: bool, classes: list[str]) -> None:
    folder = out / name
    images = []
    for image, new, _ in split.images(folder, link):
        suffix = osp.splitext(image['file_name'])[1].lower()
        images.append(dict(image, file_name=new + suffix))
    _write_text(folder / '_annotations.coco.json', json.dumps(dict(
        images=images, annotations=split.annotations, categories=split.content['categories'])))


def _yolo(name: str, split: Split, out: Path, link: bool, classes: list[str]) -> None:
    numbers = {label: classes.index(name) for label, name in enumerate(split.classes)}
    outlined, boxes = False, 0
    for image, new, objects in split.images(out / name / 'images', link):
        lines = []
        _check_bitmaps(image, objects)
        for annotation in objects:
            if annotation.get('iscrowd'):
                split.lost['crowds, which are left out'] += 1
                continue
            x, y, w, h = annotation['bbox']
            polygon = _one_polygon(annotation, image, split.lost)
            values = polygon or (x + w / 2, y + h / 2, w, h)
            outlined, boxes = outlined or polygon is not None, boxes + (polygon is None)
            sides = image['width'], image['height']
            fractions = (f'{value / sides[i % 2]:.{_DIGITS}g}' for i, value in enumerate(values))
            lines.append(' '.join([str(numbers[split.label_of[annotation['category_id']]]), *fractions]))
        _write_text(out / name / 'labels' / f'{new}.txt', ''.join(f'{line}\n' for line in lines))
    if outlined:
        split.lost['boxes without an outline, which are read as outlines beside others'] += boxes


def _one_polygon(annotation: dict, image: dict, lost: Counter) -> list[float] | None:
    """The outline of an object as one polygon; its parts are joined by lines there and back, which cover nothing."""
    mask = annotation.get('segmentation')
    if isinstance(mask, dict):
        outlines = _outlines(mask)
        lost['masks of pixels, written as the outlines of their parts'] += not _cover(outlines, mask)
        mask = outlines
    parts = [polygon for polygon in mask or () if len(polygon) >= 6 and len(polygon) % 2 == 0]
    if not parts:
        return None
    if len(parts) > 1:
        lost['objects of several outlines, joined to one'] += 1
    xs, ys = [v for p in parts for v in p[::2]], [v for p in parts for v in p[1::2]]
    extent = min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
    if not np.allclose(extent, annotation['bbox'], atol=5e-3):
        lost['boxes that are not those around their outlines'] += 1
    joined = [*parts[0]]
    for part in parts[1:]:
        joined += [*parts[0][:2], *part, *part[:2]]
    return joined + parts[0][:2] if len(parts) > 1 else joined


def _check_bitmaps(image: dict, objects: list[dict]) -> None:
    """Raise DataError where an image has more masks of pixels than there is room to decode."""
    widths = [_columns(a['segmentation'])[1] for a in objects if isinstance(a.get('segmentation'), dict)]
    if problem := widths and bitmaps_problem(len(widths), sum(widths) / len(widths), image['height']):
        raise DataError(f'{shown(image["file_name"])}: {problem}')


def _cover(outlines: list[list[float]], rle: dict) -> bool:
    """Whether the outline of a mask's only part is all there is to it: it has no holes."""
    return len(outlines) == 1 and mask_area(outlines) == mask_area(rle)


def _outlines(rle: dict) -> list[list[float]]:
    """Polygons along the edges of the pixels of a mask, without its holes."""
    left, width = _columns(rle)
    if not width:
        return []
    # OpenCV's contours go through pixels' centres; of a mask twice as large they tell the pixels' corners.
    large = decoded_columns(rle, left, width).repeat(2, 0).repeat(2, 1)
    contours, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [((contour.reshape(-1, 2) + 1) // 2 + (left, 0)).reshape(-1).astype(float).tolist() for contour in contours
            if len(contour) >= 3]


def _columns(rle: dict) -> tuple[int, int]:
    """(first, number) of the columns of an image that a mask lies in."""
    x, _, width, _ = mask_extent(rle) or (0, 0, 0, 0)
    return int(x), int(width)


def _voc(name: str, split: Split, out: Path, link: bool, classes: list[str]) -> None:
    names = []
    for image, new, objects in split.images(out / 'JPEGImages' / name, link):
        suffix = osp.splitext(image['file_name'])[1].lower()
        _check_bitmaps(image, objects)
        lines = [f'<filename>{escape(osp.basename(new) + suffix)}</filename>',
                 f'<size><width>{image["width"]}</width><height>{image["height"]}</height><depth>3</depth></size>']
        for annotation in objects:
            x, y, w, h = annotation['bbox']
            box = ''.join(f'<{key}>{round(value, 3)!r}</{key}>' for key, value in zip(
                ('xmin', 'ymin', 'xmax', 'ymax'), (x, y, x + w, y + h)))
            mask = annotation.get('segmentation')
            if isinstance(mask, dict) and _cover(outlines := _outlines(mask), mask):
                mask = outlines
            outline = ''
            if isinstance(mask, list) and len(mask) == 1 and len(mask[0]) >= 6 and len(mask[0]) % 2 == 0:
                outline = ''.join(f'<{"xy"[i % 2]}{i // 2 + 1}>{value!r}</{"xy"[i % 2]}{i // 2 + 1}>'
                                  for i, value in enumerate(mask[0]))
                outline = f'<polygon>{outline}</polygon>'
            elif mask:
                split.lost['masks of several parts or of pixels, which are left out'] += 1
            label = escape(split.classes[split.label_of[annotation['category_id']]])
            lines.append(f'<object><name>{label}</name><difficult>{int(bool(annotation.get("iscrowd")))}</difficult>'
                         f'<bndbox>{box}</bndbox>{outline}</object>')
        _write_text(out / 'Annotations' / name / f'{new}.xml', '\n'.join(
            ['<annotation>', *lines, '</annotation>']) + '\n')
        names.append(f'{name}/{new}')
    _write_text(out / 'ImageSets/Main' / f'{name}.txt', list_of(names) if names else '')


def _masks(name: str, split: Split, out: Path, link: bool, classes: list[str]) -> None:
    labels = {name: label for label, name in enumerate(() if split.load_map else classes_of_maps(classes))}
    for image, new, objects in split.images(out / 'images' / name, link):
        if split.load_map:
            seg_map = split.load_map(image['id'])
        else:
            shapes = drawn_order((labels[split.classes[split.label_of[a['category_id']]]], a) for a in objects)
            split.lost['objects without an outline, or crowds, which are left out'] += len(objects) - len(shapes)
            seg_map = draw(shapes, image['height'], image['width'])
        path = out / 'masks' / name / f'{new}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(seg_map).save(path)
    split.lost['objects, of which a mask tells no two of one class apart'] += sum(map(len, split.objects.values()))
