import json

import cv2
import numpy as np
import pytest

from mmvision_mamba.datasets.shapes import CLASSES, VERSION, draw_scene, encode_rle, make_shapes
from mmvision_mamba.errors import DataError


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'shapes'
    make_shapes(out, train=30, val=10, seed=3, size=(96, 160))
    return out


def load(root, split):
    coco = pytest.importorskip('pycocotools.coco')
    return coco.COCO(str(root / 'annotations' / f'instances_{split}.json'))


@pytest.mark.parametrize('split, count', [('train', 30), ('val', 10)])
def test_annotations_agree_with_the_semantic_maps(root, split, count):
    coco = load(root, split)
    assert [c['name'] for c in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    assert len(coco.imgs) == len(list((root / split).iterdir())) == count
    for info in coco.imgs.values():
        assert cv2.imread(str(root / split / info['file_name'])).shape == (info['height'], info['width'], 3)
        semantic = cv2.imread(str(root / 'semantic' / split / info['file_name']), cv2.IMREAD_UNCHANGED)
        assert semantic.dtype == np.uint8
        from_masks = np.zeros((96, 160), np.uint8)
        for annotation in coco.imgToAnns[info['id']]:
            mask = coco.annToMask(annotation).astype(bool)
            assert not from_masks[mask].any()  # visible pixels belong to one shape
            from_masks[mask] = annotation['category_id']
            x, y, width, height = annotation['bbox']
            rows, columns = mask.nonzero()
            assert (x, y, x + width, y + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert annotation['area'] == mask.sum() > 0
        np.testing.assert_array_equal(semantic, from_masks)


def test_every_class_and_the_background_occur(root):
    ids = np.concatenate([np.unique(cv2.imread(str(p), cv2.IMREAD_UNCHANGED)) for p in root.glob('semantic/train/*')])
    assert set(ids.tolist()) == set(range(len(CLASSES) + 1))


def test_shapes_hide_parts_of_each_other():
    """Without occlusion a shape's mask would fill its outline; here a part of them has lost pixels to another."""
    scenes = [draw_scene(np.random.default_rng([0, i])) for i in range(40)]
    touching = 0
    for scene in scenes:
        grown = [cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) for mask in scene.masks]
        touching += any((a & b).any() for i, a in enumerate(grown) for b in grown[:i])
        assert scene.masks.sum(axis=0).max() <= 1
    assert touching > 15


def test_colour_does_not_tell_the_class():
    """Each class's mean colour differs from the mean of all by less than a third of the spread between shapes."""
    colours = {label: [] for label in range(len(CLASSES))}
    for i in range(150):
        scene = draw_scene(np.random.default_rng([1, i]), (64, 64))
        for label, mask in zip(scene.labels.tolist(), scene.masks):
            colours[label].append(scene.image[mask].mean(axis=0))
    everything = np.concatenate(list(colours.values()))
    means = np.array([np.mean(c, axis=0) for c in colours.values()])
    assert (np.abs(means - everything.mean(axis=0)) < everything.std(axis=0) / 3).all()
    assert (everything.std(axis=0) > 40).all()


def test_same_seed_same_pixels_and_counts_do_not_matter(root, tmp_path):
    make_shapes(tmp_path / 'again', train=4, val=2, seed=3, size=(96, 160))
    for path in (tmp_path / 'again').rglob('*.png'):
        assert path.read_bytes() == (root / path.relative_to(tmp_path / 'again')).read_bytes()
    few, many = (json.loads((r / 'annotations/instances_train.json').read_text()) for r in (tmp_path / 'again', root))
    assert few['annotations'] == many['annotations'][:len(few['annotations'])]


def test_seeds_and_splits_differ(root, tmp_path):
    make_shapes(tmp_path / 'other', train=1, val=1, seed=4, size=(96, 160))
    pictures = [(root / 'train/000000.png'), (root / 'val/000000.png'),
                (tmp_path / 'other/train/000000.png'), (tmp_path / 'other/val/000000.png')]
    assert len({p.read_bytes() for p in pictures}) == 4


@pytest.mark.parametrize('mask', [np.zeros((3, 4), bool), np.ones((3, 4), bool), np.eye(5, dtype=bool),
                                  ~np.eye(5, dtype=bool)])
def test_run_lengths_are_cocos(mask):
    coco_mask = pytest.importorskip('pycocotools.mask')
    rle = encode_rle(mask)
    assert sum(rle['counts']) == mask.size
    decoded = coco_mask.decode(coco_mask.frPyObjects(rle, *mask.shape))
    np.testing.assert_array_equal(decoded.astype(bool), mask)


def test_repeating_is_free_and_other_content_is_kept(root, tmp_path):
    recipe = {'train': 30, 'val': 10, 'seed': 3, 'size': (96, 160)}
    assert make_shapes(root, **recipe) is False
    with pytest.raises(DataError, match='another Shapes data set'):
        make_shapes(root, **recipe | {'seed': 5})
    (tmp_path / 'notes.txt').write_text('mine')
    with pytest.raises(DataError, match='not a Shapes data set'):
        make_shapes(tmp_path, **recipe)
    assert [p.name for p in tmp_path.iterdir()] == ['notes.txt']


def test_nothing_half_written_stays(tmp_path):
    def stop(split, done, count):
        if split == 'val':
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_shapes(tmp_path / 'shapes', train=1, val=2, progress=stop)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('wrong', [{'train': 0}, {'val': -1}, {'seed': -1}, {'size': (31, 64)}, {'size': (64, 10**5)}])
def test_wrong_numbers_are_named(wrong, tmp_path):
    with pytest.raises(DataError, match=next(iter(wrong))):
        make_shapes(tmp_path / 'shapes', **{'train': 1, 'val': 1} | wrong)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(('index', 'labels', 'areas', 'mean'), [
    (0, [0, 0, 2, 2, 0], [1723, 1090, 976, 985, 1719], [118.31, 120.90, 102.28]),
    (1, [0, 2, 2], [1221, 1815, 1028], [134.50, 128.98, 124.89])])
def test_version_2_draws_these_pictures(index, labels, areas, mean):
    """Whoever changes a picture gives the drawing code a new version: results are of one version."""
    scene = draw_scene(np.random.default_rng([0, 0, index]))
    assert VERSION == 2
    assert scene.labels.tolist() == labels
    # Sines differ in the last place from machine to machine.
    assert scene.masks.sum(axis=(1, 2)).tolist() == pytest.approx(areas, abs=2)
    assert scene.image.mean(axis=(0, 1)).tolist() == pytest.approx(mean, abs=0.05)
