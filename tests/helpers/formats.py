"""One data set of outlined objects, written in every format that is read."""
import json

import numpy as np
from PIL import Image

NAMES = ('cat', 'dog', 'eel')
WIDTH, HEIGHT = 80, 64
SPLITS = {'train': 4, 'val': 2}
COLOURS = ((0, 0, 0), (200, 10, 30), (20, 180, 40), (30, 40, 220))  # of the background and NAMES
FORMATS = ('coco', 'yolo', 'voc', 'labelme')


def objects(split, number):
    """[(label, polygon)] of an image; the last of each split has none."""
    if number == SPLITS[split] - 1:
        return []
    x, y = 3 + 2 * number, 4 + number
    return [(number % 3, [x, y, x + 24, y, x + 24, y + 30, x, y + 30]),
            ((number + 1) % 3, [x + 28, y + 3, x + 50, y + 6, x + 40, y + 25])]


def box_of(polygon):
    xs, ys = polygon[::2], polygon[1::2]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def pictures(folder, split, suffix='.png'):
    """Write a split's images; yields (name, objects)."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(len(split))
    for number in range(SPLITS[split]):
        name = f'{split} {number}{suffix}'
        Image.fromarray(random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)).save(folder / name)
        yield name, objects(split, number)


def coco(root):
    for split in SPLITS:
        images, annotations = [], []
        for name, found in pictures(root / split, split):
            images.append(dict(id=len(images) + 1, file_name=name, width=WIDTH, height=HEIGHT))
            for label, polygon in found:
                _, _, w, h = box = box_of(polygon)
                annotations.append(dict(id=len(annotations) + 1, image_id=len(images), category_id=label, iscrowd=0,
                                        bbox=list(box), area=w * h, segmentation=[polygon]))
        (root / split / 'annotations.json').write_text(json.dumps(dict(
            images=images, annotations=annotations,
            categories=[dict(id=i, name=name) for i, name in enumerate(NAMES)])))
    return root


def yolo(root, boxes=False, yaml='train: ../train/images\nval: ../val/images\nnc: 3\nnames: [cat, dog, eel]\n'):
    """As exporters lay it out: paths that begin with '../' and mean the folder itself."""
    sides = WIDTH, HEIGHT
    for split in SPLITS:
        (root / split / 'labels').mkdir(parents=True)
        for name, found in pictures(root / split / 'images', split):
            lines = []
            for label, polygon in found:
                x, y, w, h = box_of(polygon)
                numbers = ((x + w / 2) / WIDTH, (y + h / 2) / HEIGHT, w / WIDTH, h / HEIGHT) if boxes else [
                    value / sides[i % 2] for i, value in enumerate(polygon)]
                lines.append(' '.join([str(label), *(f'{number:.6f}' for number in numbers)]))
            if lines:  # exporters leave out the file of an image without objects
                (root / split / 'labels' / name.replace('.png', '.txt')).write_text('\n'.join(lines) + '\n')
    (root / 'data.yaml').write_text(yaml)
    return root


def yolo_classes(root):
    """Without data.yaml: images/ and labels/, folders of splits in them, classes.txt."""
    yolo(root)
    for split in SPLITS:
        for part in ('images', 'labels'):
            (root / part).mkdir(exist_ok=True)
            (root / split / part).rename(root / part / split)
        (root / split).rmdir()
    (root / 'data.yaml').unlink()
    (root / 'classes.txt').write_text('\n'.join(NAMES) + '\n')
    return root


def yolo_beside(root):
    """Labels beside the images of each split, with a list of classes in each folder."""
    yolo(root)
    for split in SPLITS:
        for path in [*(root / split).glob('*/*')]:
            path.rename(root / split / path.name)
        for part in ('images', 'labels'):
            (root / split / part).rmdir()
        (root / split / 'classes.txt').write_text('\n'.join(NAMES) + '\n')
    (root / 'data.yaml').unlink()
    return root


def darknet(root):
    """obj.data, obj.names, and lists of images whose paths begin where darknet is started."""
    yolo_beside(root)
    names = {'train': 'train', 'val': 'valid'}
    for split, key in names.items():
        (root / split / 'classes.txt').unlink()
        files = sorted(path.name for path in (root / split).glob('*.png'))
        (root / f'{key}.txt').write_text(''.join(f'data/{split}/{file}\n' for file in files))
    (root / 'obj.names').write_text('\n'.join(NAMES) + '\n')
    (root / 'obj.data').write_text('classes = 3\n' + ''.join(
        f'{key} = data/{key}.txt\n' for key in names.values()) + 'names = data/obj.names\nbackup = backup/\n')
    return root


def voc(root, lists=True):
    """With lists in ImageSets/Main, or in folders of splits, the images beside; with outlines, as some write them."""
    for split in SPLITS:
        pages = root / 'Annotations' if lists else root / split
        pages.mkdir(parents=True, exist_ok=True)
        names = []
        for name, found in pictures(root / 'JPEGImages' if lists else root / split, split):
            text = ''
            for label, polygon in found:
                x, y, w, h = box_of(polygon)
                points = ''.join(f'<{"xy"[i % 2]}{i // 2 + 1}>{value}</{"xy"[i % 2]}{i // 2 + 1}>'
                                 for i, value in enumerate(polygon))
                text += (f'<object><name>{NAMES[label]}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin>'
                         f'<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox><polygon>{points}</polygon></object>')
            (pages / name.replace('.png', '.xml')).write_text(
                f'<annotation><filename>{name}</filename><size><width>{WIDTH}</width><height>{HEIGHT}</height>'
                f'<depth>3</depth></size>{text}</annotation>')
            names.append(name.removesuffix('.png'))
        if lists:
            (root / 'ImageSets/Main').mkdir(parents=True, exist_ok=True)
            (root / f'ImageSets/Main/{split}.txt').write_text('\n'.join(names) + '\n')
    return root


def labelme(root):
    for split in SPLITS:
        for name, found in pictures(root / split, split):
            (root / split / name.replace('.png', '.json')).write_text(json.dumps(dict(
                version='5.0', imagePath=name, imageData=None, imageHeight=HEIGHT, imageWidth=WIDTH, shapes=[
                    dict(label=NAMES[label], shape_type='polygon', group_id=None, flags={},
                         points=[polygon[i:i + 2] for i in range(0, len(polygon), 2)]) for label, polygon in found])))
    return root


def voc_instances(root):
    """Masks of objects and of classes, the upper edge of which is void."""
    (root / 'ImageSets/Segmentation').mkdir(parents=True)
    for folder in ('SegmentationObject', 'SegmentationClass'):
        (root / folder).mkdir()
    for split in SPLITS:
        names = []
        for name, found in pictures(root / 'JPEGImages', split):
            numbers = np.zeros((HEIGHT, WIDTH), np.uint8)
            for number, (label, polygon) in enumerate(found, 1):
                numbers[label_map([(label, polygon)]) > 0] = number
            border = np.zeros_like(numbers)
            border[0] = 255
            for folder, values in (('SegmentationObject', numbers), ('SegmentationClass', label_map(found))):
                Image.fromarray(values | border).save(root / folder / name)
            names.append(name.removesuffix('.png'))
        (root / f'ImageSets/Segmentation/{split}.txt').write_text('\n'.join(names) + '\n')
    (root / 'class_names.txt').write_text('\n'.join(('_background_', *NAMES)) + '\n')
    return root


WRITERS = dict(coco=coco, yolo=yolo, voc=voc, labelme=labelme, yolo_classes=yolo_classes, yolo_beside=yolo_beside,
               darknet=darknet, voc_instances=voc_instances)


def label_map(found):
    from pycocotools import mask
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for label, polygon in found:
        labels[mask.decode(mask.frPyObjects([polygon], HEIGHT, WIDTH))[..., 0].astype(bool)] = label + 1
    return labels


def masks(root, kind='grey'):
    """Images and masks: 'grey', 'colours', 'palette', 'pairs', or an end of their names such as '_mask' or '.png'."""
    for split in SPLITS:
        (root / 'masks' / split).mkdir(parents=True)
        lines = []
        for name, found in pictures(root / 'images' / split, split):
            labels = Image.fromarray(label_map(found))
            end = kind if kind[0] in '._' else ''
            path = root / 'masks' / split / f'{name.removesuffix(".png")}{end}.png'
            if kind == 'colours':
                labels = Image.fromarray(np.array(COLOURS, np.uint8)[np.asarray(labels)])
            elif kind == 'palette':
                labels = labels.convert('P')
                labels.putpalette([value for colour in COLOURS for value in colour])
            elif kind == 'pairs':
                path = path.with_name(f'map of {name}')
            labels.save(path)
            lines.append(f'images/{split}/{name},masks/{split}/{path.name}\n')
        if kind == 'pairs':
            (root / f'{split}.txt').write_text(''.join(lines))
    names = ('background', *NAMES)
    if kind in ('colours', 'palette'):
        (root / 'labelmap.txt').write_text('# label:color_rgb:parts:actions\n' + ''.join(
            f'{name}:{",".join(map(str, colour))}::\n' for name, colour in zip(names, COLOURS)))
    else:
        (root / 'classes.txt').write_text('\n'.join(names) + '\n')
    return root


def masks_beside(root, kind):
    """Images and masks in one folder: 'end', x_mask.png, or 'suffix', x.png, of each split; 'lists', all in one."""
    for split in SPLITS:
        folder, names = root if kind == 'lists' else root / split, []
        for name, found in pictures(folder, split, '.bmp'):
            names.append(name.removesuffix('.bmp'))
            Image.fromarray(label_map(found)).save(folder / f'{names[-1]}{"" if kind == "suffix" else "_mask"}.png')
        if kind == 'lists':
            (root / f'{split}.txt').write_text('\n'.join(names) + '\n')
    names = ('background', *NAMES)
    if kind == 'end':  # as an exporter writes it
        (root / 'train/_classes.csv').write_text('Pixel Value, Class\n' + ''.join(
            f' {i}, {name}\n' for i, name in enumerate(names)))
    else:
        (root / 'classes.txt').write_text('\n'.join(names) + '\n')
    return root
