"""Data of one's own in other formats than COCO's: one data set gives one set of targets, whatever it is written in."""
import json
import re

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmengine.registry import DATASETS, DefaultScope

from mmvision_mamba.errors import ConfigError, DataError
from mmvision_mamba.preflight.check_data import check_datasets
from mmvision_mamba.preflight.check_model import check_model
from mmvision_mamba.preflight.datasets import datasets_of
from mmvision_mamba.preflight.folder_data import look_at
from mmvision_mamba.preflight.read import read_config
from mmvision_mamba.preflight.usage import check_usage

from ..helpers import formats

MASKS, BOXES, SEGMENTOR = (f'{name}_mambavision_t_custom' for name in ('cascade_mask_rcnn', 'faster_rcnn', 'upernet'))
SPLITS = ('train', 'val', 'test')


def read(config, root, **options):
    cfg = read_config(config, dict(data_root=str(root), **options))
    check_usage(cfg, check_datasets(cfg, SPLITS), SPLITS)
    check_model(cfg, SPLITS)
    return cfg


def targets(cfg, split='train'):
    """{image's name without suffix: (boxes, labels, masks) or map} out of the config's own loading steps."""
    (_, dataset, _), = datasets_of(cfg, split)
    steps = [step for step in dataset['pipeline'] if step['type'].split('.')[-1] in
             ('LoadImageFromFile', 'LoadAnnotations', 'PackDetInputs', 'PackSegInputs')]
    found = {}
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        built = DATASETS.build(dict(dataset, _scope_=cfg.default_scope, pipeline=steps, filter_cfg=None)
                               if cfg.default_scope == 'mmdet' else dict(dataset, pipeline=steps))
        for i in range(len(built)):
            sample = built[i]['data_samples']
            name = sample.img_path.rpartition('/')[2].rpartition('.')[0]
            if cfg.default_scope == 'mmseg':
                found[name] = [sample.gt_sem_seg.data.numpy()]
            else:
                objects = sample.gt_instances
                found[name] = [objects.bboxes.tensor.numpy(), objects.labels.numpy()]
                found[name] += [objects.masks.to_ndarray()] if 'masks' in objects else []
    return found


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        for a, b in zip(one[name], other[name], strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype


@pytest.fixture(scope='module')
def reference(tmp_path_factory):
    root = formats.coco(tmp_path_factory.mktemp('reference') / 'coco')
    return {config: {split: targets(read(config, root), split) for split in ('train', 'val')}
            for config in (MASKS, BOXES, SEGMENTOR)}


@pytest.mark.parametrize('config', [MASKS, BOXES, SEGMENTOR])
@pytest.mark.parametrize('name', [*formats.FORMATS[1:], 'yolo_classes', 'yolo_beside', 'darknet'])
def test_one_data_set_gives_the_same_targets_in_all_formats(name, config, tmp_path, reference):
    cfg = read(config, formats.WRITERS[name](tmp_path / 'my data'))
    for split in ('train', 'val'):
        same(targets(cfg, split), reference[config][split])
    assert sum(map(len, (targets(cfg, 'val')))) > 0 and 'custom_data' not in cfg


def test_instances_of_voc(tmp_path, reference):
    """Masks and labels are the same bit for bit; boxes are those around the pixels."""
    root = formats.voc_instances(tmp_path)
    cfg = read(MASKS, root)
    assert cfg.train_dataloader.dataset.ann_file == '#voc_instances-train'
    for split in ('train', 'val'):
        for name, (boxes, labels, masks) in targets(cfg, split).items():
            _, expected_labels, expected_masks = reference[MASKS][split][name]
            np.testing.assert_array_equal(labels, expected_labels)
            np.testing.assert_array_equal(masks, expected_masks)
            for box, mask in zip(boxes, masks, strict=True):
                rows, columns = np.nonzero(mask)
                assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    maps = read(SEGMENTOR, root)
    assert maps.train_dataloader.dataset.data_prefix.seg_map_path == 'SegmentationClass'
    for name, (labels,) in targets(maps).items():
        np.testing.assert_array_equal(labels[:, 1:], reference[SEGMENTOR]['train'][name][0][:, 1:])
        assert (labels[:, 0] == 255).all()


def test_masks_or_boxes_of_voc_by_what_the_model_learns(tmp_path):
    formats.voc_instances(tmp_path)
    formats.voc(tmp_path)
    assert read(MASKS, tmp_path).train_dataloader.dataset.ann_file == '#voc_instances-train'
    assert read(BOXES, tmp_path).train_dataloader.dataset.ann_file == '#voc-train'


def test_files_of_the_voc_database_give_the_boxes_of_mmdet(tmp_path):
    """Which takes one from all four numbers, and cuts off what is behind the point."""
    formats.voc(tmp_path)
    for path in tmp_path.glob('Annotations/*.xml'):
        text = path.read_text().replace('<size>', '<source><database>The VOC2012 Database</database></source><size>')
        path.write_text(re.sub(r'<polygon>.*?</polygon>', '', text).replace('</ymax>', '.7</ymax>'))
    cfg = read(BOXES, tmp_path)
    with DefaultScope.overwrite_default_scope('mmdet'):
        ours, theirs = (DATASETS.build(dict(kind, pipeline=[], test_mode=True, _scope_='mmdet')) for kind in (
            cfg.train_dataloader.dataset, dict(
                type='XMLDataset', data_root=str(tmp_path), ann_file='ImageSets/Main/train.txt',
                data_prefix=dict(sub_data_root=''), metainfo=dict(classes=formats.NAMES))))
    assert len(ours) == len(theirs) == formats.SPLITS['train']
    for i in range(len(ours)):
        found = [[(item['bbox'], item['bbox_label']) for item in dataset.get_data_info(i)['instances']]
                 for dataset in (ours, theirs)]
        assert found[0] == found[1]


@pytest.mark.parametrize('kind', ['end', 'suffix', 'lists'])
def test_masks_beside_their_images(kind, tmp_path, reference):
    cfg = read(SEGMENTOR, formats.masks_beside(tmp_path, kind))
    for split in ('train', 'val'):
        same(targets(cfg, split), reference[SEGMENTOR][split])
    assert cfg.train_dataloader.dataset.metainfo.classes == ('background', *formats.NAMES)


def test_labels_of_numbers_alone(tmp_path, reference, capsys):
    root = formats.yolo_classes(tmp_path)
    (root / 'classes.txt').unlink()
    cfg = read(BOXES, root)
    assert cfg.train_dataloader.dataset.metainfo.classes == ('0', '1', '2')
    assert 'the names of the classes are their numbers' in capsys.readouterr().out
    same(targets(cfg), reference[BOXES]['train'])
    for split in ('train', 'val'):  # as some exporters write them, beside the labels
        (root / 'labels' / split / '_darknet.labels').write_text('cat\ndog\neel\n')
    assert read(BOXES, root).train_dataloader.dataset.metainfo.classes == formats.NAMES


def test_boxes_alone(tmp_path, reference):
    root = formats.yolo(tmp_path, boxes=True)
    same(targets(read(BOXES, root)), reference[BOXES]['train'])
    for config in (MASKS, SEGMENTOR):
        with pytest.raises(DataError, match='faster_rcnn_mambavision_t_custom'):
            read(config, root)


@pytest.mark.parametrize('kind', ['grey', 'colours', 'palette', '_mask', '.png', '_labelTrainIds', 'pairs'])
def test_maps_of_all_kinds(kind, tmp_path, reference):
    cfg = read(SEGMENTOR, formats.masks(tmp_path, kind))
    for split in ('train', 'val'):
        same(targets(cfg, split), reference[SEGMENTOR][split])
    assert cfg.train_dataloader.dataset.metainfo.classes == ('background', *formats.NAMES)
    assert cfg.model.decode_head.num_classes == 4


def test_colours_of_the_config(tmp_path, reference):
    root = formats.masks(tmp_path, 'colours')
    (root / 'labelmap.txt').unlink()
    with pytest.raises(DataError, match='the mask is a colour picture'):
        read(SEGMENTOR, root)
    colours = dict(zip(('background', *formats.NAMES), map(list, formats.COLOURS)))
    same(targets(read(SEGMENTOR, root, **{'custom_data.colours': colours})), reference[SEGMENTOR]['train'])
    colours['cat'] = [1, 2, 3]
    with pytest.raises(DataError, match=r'train 0\.png: the mask has colours of no class: \(200, 10, 30\) \(\d+ pix'):
        read(SEGMENTOR, root, **{'custom_data.colours': colours})
    with pytest.raises(ConfigError, match=r'custom_data\.colours\.cat: expected a class and its colour'):
        read(SEGMENTOR, root, **{'custom_data.colours': dict(colours, cat=[1, 2])})


@pytest.mark.parametrize('header', ['', 'name,r,g,b\n', 'name, red, green, blue\n'])
def test_a_list_of_colours_begins_with_a_header_or_a_class(header, tmp_path, reference):
    root = formats.masks(tmp_path, 'colours')
    (root / 'labelmap.txt').unlink()
    lines = [','.join(map(str, (name, *colour))) for name, colour in zip(('background', *formats.NAMES),
                                                                         formats.COLOURS)]
    (root / 'class_dict.csv').write_text(header + '\n'.join(lines) + '\n')
    same(targets(read(SEGMENTOR, root)), reference[SEGMENTOR]['train'])
    for number in ('\u0662\u0665\u0665', '0_1', '256'):
        (root / 'class_dict.csv').write_text(header + '\n'.join([f'first,0,0,{number}', *lines[1:]]) + '\n')
        with pytest.raises(DataError, match=r'class_dict\.csv: .*expected a class and its colour'):
            read(SEGMENTOR, root)


def test_formats_are_chosen_where_two_are_there(tmp_path):
    root = formats.yolo(formats.coco(tmp_path))
    with pytest.raises(DataError, match=r'several formats(.|\n)*coco: train/annot(.|\n)*yolo: data.yaml#yolo-train'
                                        r'(.|\n)*custom_data.format=coco'):
        read(BOXES, root)
    for key, value, chosen in (('format', 'yolo', 'data.yaml#yolo-train'), ('train', 'data.yaml#yolo-val', None)):
        dataset = read(BOXES, root, **{f'custom_data.{key}': value}).train_dataloader.dataset
        assert dataset.ann_file == (chosen or value)
    with pytest.raises(DataError, match=r'not what custom_data.format=voc stands for'):
        read(BOXES, root, **{'custom_data.format': 'voc'})
    with pytest.raises(ConfigError, match=r'custom_data\.boxes is for COCO files'):
        read(BOXES, root, **{'custom_data.format': 'yolo', 'custom_data.boxes': 'xyxy'})


def test_nothing_is_there(tmp_path):
    with pytest.raises(DataError) as error:
        read(BOXES, tmp_path)
    assert all(words in str(error.value) for words in ('COCO', 'YOLO', 'VOC', 'LabelMe'))


@pytest.mark.parametrize(('name', 'text', 'words'), [
    ('_annotations.csv', 'filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,64,48,cat,5,5,20,20\n', 'in a table'),
    ('_annotations.txt', 'a b.jpg 5,5,20,20,0\n', None),
    ('_annotations.txt', 'a.jpg 5,5,20,20,0 1,2,3,4,1\n', 'in a table'),
    ('labelTxt/a.txt', 'imagesource:GoogleEarth\ngsd:0.1\n5.0 5.0 30 5 30 30 5 30 plane 0\n', 'boxes of DOTA'),
    ('labelTxt/a.txt', '5 5 30 5 30 30 5 30 small-vehicle\n', 'boxes of DOTA'),
    ('notes.txt', 'four images of 2019\n', None)])
def test_what_is_there_instead_is_named(name, text, words, tmp_path):
    for split in ('train', 'valid'):
        for _ in formats.pictures(tmp_path / split, split if split == 'train' else 'val'):
            pass
        (tmp_path / split / name).parent.mkdir(exist_ok=True)
        (tmp_path / split / name).write_text(text)
    with pytest.raises(DataError) as error:
        read(BOXES, tmp_path)
    if words:
        assert f'{words} (train/{name})' in str(error.value)
    else:
        assert 'images alone' in str(error.value) and 'look like' not in str(error.value)


@pytest.mark.parametrize('name', ['background', 'Background', '_background_', '__BACKGROUND__'])
def test_the_first_class_of_drawn_maps_is_what_no_object_covers(name, tmp_path, reference):
    yaml = f'train: train/images\nval: val/images\nnames: [cat, dog, {name}]\n'
    root = formats.yolo(tmp_path, yaml=yaml)
    cfg = read(SEGMENTOR, root)
    assert cfg.train_dataloader.dataset.metainfo.classes == (name, 'cat', 'dog')
    chosen = read(SEGMENTOR, root, **{'custom_data.classes': {'nothing': name, 'animal': ['dog', 'cat']}})
    for file, (labels,) in targets(chosen).items():
        expected, = reference[SEGMENTOR]['train'][file]
        np.testing.assert_array_equal(labels, np.isin(expected, [1, 2]))
    for name, (labels,) in targets(cfg).items():
        expected, = reference[SEGMENTOR]['train'][name]
        np.testing.assert_array_equal(labels, np.where(expected == 3, 0, expected))
    classes = 'train_dataloader.dataset.metainfo.classes'
    assert read(SEGMENTOR, root, **{classes: ('other', 'dog')}).model.decode_head.num_classes == 2
    with pytest.raises(ConfigError, match=r"metainfo\.classes begins with 'dog', a class of objects: put the one"):
        read(SEGMENTOR, root, **{classes: ('dog', 'cat')})
    (root / 'data.yaml').write_text(yaml.replace('[cat', f'[{", ".join(map(str, range(300)))}, cat'))
    with pytest.raises(DataError, match=r'there are 303 classes with the background, .* 255: leave some out, by meta'):
        read(SEGMENTOR, root)


def test_labelme_files_that_name_no_image_are_no_coco_files(tmp_path):
    root = formats.labelme(tmp_path)
    for path in [*root.rglob('*.json')]:  # one of a split could be COCO's
        if path.stem[-1] != '0':
            path.unlink()
            continue
        page = json.loads(path.read_text())
        del page['imagePath']
        path.write_text(json.dumps(page))
    assert read(MASKS, root).train_dataloader.dataset.ann_file == '#labelme-train'


def test_labelme_beside_coco_is_what_that_was_made_from(tmp_path):
    root = formats.labelme(formats.coco(tmp_path))
    assert read(MASKS, root).train_dataloader.dataset.ann_file == 'train/annotations.json'


def test_what_is_wrong_is_said(tmp_path, capsys):
    """What can be left out is counted; what cannot be read stops the run, and check-dataset lists all of it."""
    root = formats.yolo(tmp_path, boxes=True)
    label = root / 'train/labels/train 0.txt'
    good = label.read_text()
    label.write_text(good + '7 0.5 0.5 0.2 0.2\n')
    (root / 'train/labels/gone.txt').write_text(good)
    read(BOXES, root)
    said = capsys.readouterr()
    assert '1 of unknown categories' in said.out
    label.write_text(good + '0 0.5 nan 0.2 0.2\n')
    with pytest.raises(DataError, match=r'train/labels/train 0\.txt, line 3: a coordinate is no finite number'):
        read(BOXES, root)


@pytest.mark.parametrize(('write', 'spoil', 'config', 'words'), [
    (formats.yolo, lambda path: path.write_text('0 320 200 64 64\n'), BOXES, 'a coordinate is 320'),
    (formats.labelme, lambda path: path.write_text(path.read_text().replace('"points"', '"dots"')), SEGMENTOR,
     r'shape 1: '),
    (formats.labelme, lambda path: path.write_text('{"shapes": ['), BOXES, r'train 0\.json: ')])
def test_where_nothing_can_be_read_the_reason_is_said(write, spoil, config, words, tmp_path):
    root = write(tmp_path)
    for path in [*root.rglob('*.xml'), *root.rglob('*.json'), *root.rglob('labels/*.txt')]:
        spoil(path)
    for call in (lambda: read(config, root), lambda: look_at(str(root), {})):
        with pytest.raises(DataError, match=rf'/.*{words}(.|\n)*correct them, or remove them'):
            call()


def test_a_test_split_that_cannot_be_read_is_no_empty_one(tmp_path):
    root = formats.labelme(tmp_path)
    for path in [*(root / 'val').iterdir()]:
        target = root / 'test' / path.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes().replace(b'"points"', b'"dots"'))
    cfg = read_config(BOXES, dict(data_root=str(root)))
    assert cfg.test_dataloader.dataset.ann_file == '#labelme-test'
    with pytest.raises(DataError, match=r'test/val 0\.json, shape 1: its points'):
        check_datasets(cfg, SPLITS)


def test_check_dataset_shows_the_same(tool, tmp_path):
    root = formats.yolo(tmp_path / 'data', boxes=True)
    label = root / 'train/labels/train 0.txt'
    label.write_text(label.read_text() + '7 0.5 0.5 0.2 0.2\n1 0.5 0.5 2 x\n0 1.3 1.3 0.1 0.1\n')
    (root / 'train/labels/gone.txt').write_text('0 0.5 0.5 0.2 0.2\n')
    result = tool('check_dataset', BOXES, '--split', 'train', '--cfg-options', f'data_root={root}', '--workers', '0')
    assert result.code == 1, result.err
    for words in ("train/labels/train 0.txt, line 4: expected numbers, got '1 0.5 0.5 2 x'", 'line 3: category 7',
                  'line 5: bbox is [', '1 label files have no image: train/labels/gone.txt'):
        assert words in result.out, result.out


@pytest.mark.parametrize('kind', ['outlines', 'colours'])
def test_check_dataset_counts_the_pixels_of_maps(kind, tool, tmp_path):
    root = formats.labelme(tmp_path / 'data') if kind == 'outlines' else formats.masks(tmp_path / 'data', kind)
    result = tool('check_dataset', SEGMENTOR, '--split', 'train', '--workers', '0', '--cfg-options',
                  f'data_root={root}')
    assert result.code == 0 and 'no problems' in result.out, result.out + result.err
    pixels = np.bincount(np.concatenate([formats.label_map(formats.objects('train', n)).ravel() for n in range(4)]))
    for name, count in zip(('background', *formats.NAMES), pixels):
        assert f'{name} {count / pixels.sum():.1%}' in result.out
    assert 'pixels: 80 × 64; values 0 to 255' in result.out and 'no pixel of' not in result.out


def test_check_dataset_says_what_nothing_learns_from(tool, tmp_path):
    root = formats.masks(tmp_path)
    for path in root.glob('masks/train/*.png'):
        labels = np.asarray(Image.open(path)).copy()
        labels[:16], labels[labels == 3] = 255, 0  # a quarter; no eel
        Image.fromarray(labels).save(path)
    result = tool('check_dataset', SEGMENTOR, '--split', 'train', '--workers', '0', '--cfg-options',
                  f'data_root={root}', '--json', tmp_path / 'report.json')
    assert result.code == 0 and '  25.0% of the pixels have no label, and count for nothing\n  no pixel of eel\n' in \
        result.out, result.out + result.err
    report, = json.loads((tmp_path / 'report.json').read_text())['datasets']
    assert report['unlabelled_pixels'] == 4 * 16 * formats.WIDTH and report['image_sizes'] == {'80x64': 4}


def test_the_test_config_of_a_run_names_the_split(tmp_path):
    root = formats.yolo(tmp_path)
    cfg = read(BOXES, root)
    assert cfg.val_evaluator.ann_file == str(root / 'data.yaml#yolo-val')
    cfg.dump(tmp_path / 'written.py')
    again = read_config(tmp_path / 'written.py')
    same(targets(again), targets(cfg))
    assert again.val_evaluator.to_dict() == cfg.val_evaluator.to_dict()


def test_a_part_is_set_aside_of_any_format(tool, tmp_path):
    import shutil
    root = formats.voc(tmp_path / 'data')
    shutil.rmtree(root / 'ImageSets')
    with pytest.raises(DataError, match=f'nothing to validate with(.|\n)*split-dataset {root}'):
        read(BOXES, root)
    result = tool('split_dataset', root, '--val', '0.5')
    assert result.code == 0 and 'splits/train.json: 3 images' in result.out, result.err
    cfg = read(BOXES, root)
    assert cfg.train_dataloader.dataset.ann_file == 'splits/train.json'
    assert sum(len(targets(cfg, split)) for split in ('train', 'val')) == 6


@pytest.mark.parametrize('config', [BOXES, SEGMENTOR])
def test_where_no_object_can_be_read_that_is_the_reason(config, tmp_path):
    from mmvision_mamba.preflight.folder_data import look_at
    root = formats.voc(tmp_path / 'data')
    for path in root.rglob('*.xml'):
        path.write_text(path.read_text().replace('bndbox>', 'box>').replace('polygon>', 'line>'))
    for reads in (lambda: read(config, root), lambda: look_at(str(root), {})):
        with pytest.raises(DataError, match=r"\.xml, object 1: its xmin is '', where a number is expected\.\n\d+ "):
            reads()
