"""Folders of images and masks: their layouts, lists, suffixes and leftovers."""
import os.path as osp
import shutil

import cv2
import numpy as np
import pytest

pytest.importorskip('mmseg')

from mmvision_mamba.datasets.image_mask import find_pairs
from mmvision_mamba.errors import DataError
from mmvision_mamba.preflight import custom_data
from mmvision_mamba.preflight.check_data import check_datasets
from mmvision_mamba.preflight.mask_folder import find_image_mask, read_masks
from mmvision_mamba.preflight.read import read_config

from ..helpers.custom_folders import image_mask, write_image

SEGMENTOR = 'upernet_mambavision_t_custom'
TWO = {'images/train': 'masks/train', 'images/val': 'masks/val'}


def read(root, skip_missing=False, **options):
    cfg = read_config(SEGMENTOR, dict(data_root=str(root), **options))
    check_datasets(cfg, ('train', 'val', 'test'), skip_missing)
    return cfg


@pytest.mark.parametrize('pairs', [
    TWO, {'train_images': 'train_masks', 'val_images': 'val_masks'}, {'train': 'train_masks', 'val': 'val_masks'},
    {'mine/deep/images/train': 'mine/deep/gt/train', 'mine/deep/images/val': 'mine/deep/gt/val'},
    {'Training/Img': 'Training/GT', 'Validation/Img': 'Validation/GT'},
    {'data/img_train': 'data/ann_train', 'data/img_val': 'data/ann_val'},
    {'train': 'trainannot', 'val': 'valannot'}, {'SegNet/CamVid/train': 'SegNet/CamVid/trainannot',
                                                 'SegNet/CamVid/val': 'SegNet/CamVid/valannot'},
    {'train/x': 'train/y', 'val/x': 'val/y'}, {'X/train': 'Y/train', 'X/val': 'Y/val'},
    {'train/input': 'train/target', 'val/input': 'val/target'},
    {'train/Original': 'train/Ground Truth', 'val/Original': 'val/Ground Truth'},
    {'ds/train/img': 'ds/train/masks_machine', 'ds/val/img': 'ds/val/masks_machine'},
    {'ISIC2018_Task1-2_Training_Input': 'ISIC2018_Task1_Training_GroundTruth',
     'ISIC2018_Task1-2_Validation_Input': 'ISIC2018_Task1_Validation_GroundTruth'}], ids=str)
def test_layouts(pairs, tmp_path):
    image_mask(tmp_path, pairs)
    for masks in pairs.values():
        if 'machine' in masks:  # in colours, to look at
            shutil.copytree(tmp_path / masks, tmp_path / masks.replace('machine', 'human'))
    found = find_image_mask(str(tmp_path))
    prefixes = [found[split]['data_prefix'] for split in ('train', 'val')]
    assert [(p['img_path'], p['seg_map_path']) for p in prefixes] == list(pairs.items())


@pytest.mark.parametrize(('images', 'masks'), [
    ('x', 'y'), ('inputs', 'targets'), ('top', 'gts_for_participants'), ('Original', 'Ground Truth')])
def test_a_pair_of_folders_that_nothing_splits(images, masks, tmp_path):
    image_mask(tmp_path, {images: masks})
    assert find_image_mask(str(tmp_path)) == {'all': dict(data_prefix=dict(img_path=images, seg_map_path=masks))}


def test_folders_that_are_masks_beside_others_alone_are_none_by_themselves(tmp_path):
    image_mask(tmp_path, {'a': 'y', 'b': 'target'})
    assert find_image_mask(str(tmp_path)) == {}


def test_masks_of_8_bits_have_256_classes_at_most(tmp_path):
    root = image_mask(tmp_path, TWO)
    (root / 'classes.txt').write_text(''.join(f'class {i}\n' for i in range(257)))
    with pytest.raises(DataError, match=r'names 257 classes, and the values of masks, which have 8 bits, end at 255'):
        read(root)
    (root / 'classes.txt').write_text(''.join(f'class {i}\n' for i in range(256)))
    assert len(read(root).train_dataloader.dataset.metainfo.classes) == 256


def test_a_test_split_is_tested_on(tmp_path, capsys):
    root = image_mask(tmp_path, TWO)
    assert read(root).test_dataloader.dataset.data_prefix.img_path == 'images/val'
    assert 'no test split: testing uses val' in capsys.readouterr().out
    write_image(root / 'images/test/a.png', np.random.default_rng(0))  # without masks it is none
    assert read(root).test_dataloader.dataset.data_prefix.img_path == 'images/val'
    image_mask(root, {'images/test': 'masks/test'}, count=1)
    shutil.rmtree(root / 'images/test')
    image_mask(root, {'images/test': 'masks/test'}, count=1)
    assert read(root).test_dataloader.dataset.data_prefix.seg_map_path == 'masks/test'


def test_the_lists_of_pascal_voc(tmp_path):
    root = image_mask(tmp_path, {'JPEGImages': 'SegmentationClass'})
    for place in ('Main', 'Segmentation'):
        (root / f'ImageSets/{place}').mkdir(parents=True)
    shutil.copytree(root / 'SegmentationClass', root / 'SegmentationObject')
    (root / 'ImageSets/Main/train.txt').write_text('none\n')
    (root / 'ImageSets/Segmentation/train.txt').write_text('pic 1\nsite 0/pic\n')
    (root / 'ImageSets/Segmentation/val.txt').write_text('pic 3\n')
    dataset = read(root).train_dataloader.dataset
    assert dataset.ann_file == 'ImageSets/Segmentation/train.txt'
    assert dict(dataset.data_prefix) == dict(img_path='JPEGImages', seg_map_path='SegmentationClass')


@pytest.mark.parametrize('line', ['{}', '{}.PNG', '{}.jpg', 'images/{}', './images/{}.png', 'images\\{}.PNG'])
def test_lines_of_lists(line, tmp_path):
    root = image_mask(tmp_path, {'images': 'masks'})
    for split, name in (('train', 'site 0/pic'), ('val', 'site 2/pic')):
        text = '\ufeff\r\n' + line.format(name.replace('/', '\\') if '\\' in line else name) + '\r\n\r\n'
        (root / f'{split}.txt').write_text(text, encoding='utf-8', newline='')
    cfg = read(root)
    from mmvision_mamba.datasets.image_mask import find_pairs
    (image, mask), = find_pairs(str(root / 'images'), str(root / 'masks'), str(root / 'val.txt')).pairs
    assert image.endswith('images/site 2/pic.PNG') and mask.endswith('masks/site 2/pic.png')
    assert cfg.train_dataloader.dataset.ann_file == 'train.txt'


def test_pairs_in_lists_are_named(tmp_path):
    root = image_mask(tmp_path, {'images': 'masks'})
    for split in ('train', 'val'):
        (root / f'{split}.txt').write_text('images/a.jpg masks/a.png\nimages/b.jpg masks/b.png\n')
    with pytest.raises(DataError, match=r'train\.txt: 2 of 2 images are missing'):
        read(root)
    (root / 'train.txt').write_text('images/a.jpg masks/a.png\nimages/b.jpg\n')
    with pytest.raises(DataError, match=r"train\.txt: 'images/b.jpg' is no pair of an image and a mask"):
        read(root)


def test_pairs_of_absolute_paths(tmp_path):
    root = image_mask(tmp_path / 'data', {'images': 'masks'})
    image, mask = (sorted((root / folder).rglob('*.*'))[0].rename(tmp_path / f'{folder}.png')
                   for folder in ('images', 'masks'))
    (root / 'train.txt').write_text(f'{image},{mask}\n')
    (found,), _, _ = find_pairs(str(root), str(root), str(root / 'train.txt'))
    assert [osp.normpath(path) for path in found] == [str(image), str(mask)]


@pytest.mark.parametrize('start', ['/SegNet/CamVid/', r'D:\sets\CamVid' '\\', '../data/CamVid/', ''])
def test_pairs_of_paths_of_another_machine(start, tmp_path):
    """As CamVid's lists come: masks have their images' names, and no path begins here."""
    root = image_mask(tmp_path, {'train': 'trainannot', 'val': 'valannot'})
    for split in ('train', 'val'):
        (root / f'{split}.txt').write_text(''.join(f'{start}{split}/{name} {start}{split}annot/{name}\n'
                                                   for name in ('a.png', 'b.png')))
        for folder in (split, f'{split}annot'):
            for name, file in zip(('a.png', 'b.png'), sorted((root / folder).glob('*/*.*'))):
                shutil.copy(file, root / folder / name)
    (first, _), masks, _ = find_pairs(str(root), str(root), str(root / 'train.txt'))
    assert first == (f'{root}/train/a.png', f'{root}/trainannot/a.png') and len(masks) == 2


def test_leftovers_and_other_kinds(tmp_path, capsys):
    root = image_mask(tmp_path, TWO)
    for name in ('.ipynb_checkpoints/a-checkpoint.jpg', '._a.jpg', '@eaDir/a.jpg', '__MACOSX/a.png'):
        write_image(root / 'images/train' / name, np.random.default_rng(0))
    (root / 'images/train/Thumbs.db').write_bytes(b'x')
    for name in ('a.heic', 'b.HEIC', 'notes.txt'):
        (root / 'images/train' / name).write_bytes(b'x')
    (root / 'masks/train/unused.png').write_bytes((root / 'masks/train/pic 1.png').read_bytes())
    read(root)
    out = capsys.readouterr().out
    assert 'train: 4 images; train: 3 files of other kinds (2 .heic, 1 .txt) left out; 1 masks have no image; ' in out


@pytest.mark.parametrize('suffix', ['.JPG', '.jfif', '.GIF', '.TIFF', '.webp'])
def test_suffixes(suffix, tmp_path):
    from PIL import Image
    root = image_mask(tmp_path, TWO)
    source = root / 'images/train/pic 1.jpeg'
    kind = {'.jfif': 'JPEG', '.JPG': 'JPEG'}.get(suffix, suffix[1:].upper())
    Image.open(source).save(root / f'images/train/pic 1{suffix}', kind)
    source.unlink()
    assert f'pic 1{suffix}' in str(find_pairs_of(read(root)))


def find_pairs_of(cfg):
    from mmvision_mamba.datasets.image_mask import find_pairs
    dataset = cfg.train_dataloader.dataset
    return find_pairs(*(f'{dataset.data_root}/{path}' for path in dataset.data_prefix.values())).pairs


def test_missing_masks_are_counted_or_left_out(tmp_path):
    root = image_mask(tmp_path, TWO)
    (root / 'masks/train/pic 3.png').unlink()
    with pytest.raises(DataError, match=r'1 of 4 masks are missing, the first: .*train/pic 3.png(.|\n)*--skip-bad'):
        read(root)
    read(root, skip_missing=True)
    for path in (root / 'masks').rglob('*.png'):
        path.rename(path.with_name(f'{path.stem}mask.png'))
    with pytest.raises(DataError, match=r'4 of 4 masks are missing(.|\n)*There is pic 1mask.png'):
        read(root, skip_missing=True)


@pytest.mark.parametrize('name', ['masks.JPG', 'colours'])
def test_masks_of_other_kinds(name, tmp_path):
    root = image_mask(tmp_path, TWO, values=(0, 255))
    for path in (root / 'masks').rglob('*.png'):
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if name == 'colours':
            cv2.imwrite(str(path), np.stack([mask, mask // 2, mask // 3], -1))
        else:
            path.unlink()
            cv2.imwrite(str(path.with_suffix('.jpg')), cv2.GaussianBlur(mask, (5, 5), 1))
    with pytest.raises(DataError, match=dict(colours='colour picture').get(name, 'like resampled masks: 2 levels')):
        read(root)


def test_a_segmentor_draws_what_coco_outlines(tmp_path):
    from ..helpers.custom_folders import coco
    coco(tmp_path, {'train/a.json': 'train', 'val/a.json': 'val'}, count=2)
    dataset = read(tmp_path).train_dataloader.dataset
    assert dataset.type.endswith('DrawnMapDataset') and dataset.metainfo.classes == ('background', 'cat', 'dog')
    with pytest.raises(DataError, match=r'no folders of images and masks there: these look like COCO annotations'):
        read(tmp_path, **{'custom_data.format': 'image_mask'})


@pytest.mark.parametrize('end', ['', '/ADEChallengeData2016', '/renamed'])
def test_ade20k_root_may_be_the_folder_itself(end, tmp_path):
    ade = tmp_path / 'ADEChallengeData2016'
    image_mask(ade, {'images/training': 'annotations/training', 'images/validation': 'annotations/validation'}, count=2)
    for path in (ade / 'images').rglob('*.*'):
        path.rename(path.with_suffix('.jpg'))
    if end == '/renamed':
        ade.rename(tmp_path / 'renamed')
    cfg = read_config('upernet_mambavision_t_ade20k', dict(data_root=str(tmp_path) + end))
    check_datasets(cfg)


def test_a_split_without_labels_stops(tmp_path, monkeypatch):
    root, found = image_mask(tmp_path, TWO), []
    monkeypatch.setattr(custom_data, 'warn_once', found.append)
    read(root)
    assert not found
    for path in (root / 'masks/val').rglob('*.png'):
        cv2.imwrite(str(path), np.full((64, 80), 255, np.uint8))
    with pytest.raises(DataError, match=r'masks/val: nothing to measure \(val\): all pixels .* unlabelled \(255\)'):
        read(root)
    image_mask(root, {'images/val': 'masks/val'}, values=(0, 3))
    read(root)
    assert found == ['train: no pixel of class_3']


def test_two_classes_of_one_name(tmp_path):
    root = image_mask(tmp_path, TWO)
    (root / 'classes.txt').write_text('ground\nroof\nroof\n')
    with pytest.raises(DataError, match="two classes have the name 'roof'"):
        read(root)


@pytest.mark.parametrize('line', [
    '{name}', '{name}.jpg', '{name} 1', '{name}\t-1', 'images/{name}.png', '{root}/images/{name}',
    '{root}/images/{name}.JPG', '/home/me/set/images/{name}.jpg', 'C:\\set\\images\\{name}.jpg', './{name}',
    '{name}  '])
@pytest.mark.parametrize('end', ['\n', '\r\n', '\n\n'])
def test_lines_of_lists_as_people_write_them(line, end, tmp_path):
    root = image_mask(tmp_path / 'my set', {'images': 'masks'}, count=4)
    names = sorted(str(path.relative_to(root / 'masks').with_suffix('')) for path in (root / 'masks').rglob('*.png'))
    for split, some in (('train', names[:2]), ('val', names[2:])):
        lines = ['# the names', *(line.format(name=name, root=root) for name in some), '#']
        (root / f'{split}.txt').write_bytes(end.join(lines).encode())
    cfg = read(root)
    check_datasets(cfg)
    pairs = find_pairs(str(root / 'images'), str(root / 'masks'), str(root / 'train.txt')).pairs
    assert [mask for _, mask in pairs] == [str(root / 'masks' / f'{name}.png') for name in names[:2]]


@pytest.mark.parametrize('file', ['classes.txt', 'labelmap.txt', '_classes.csv'])
@pytest.mark.parametrize('place', ['export/v1', 'export/v1/masks'])
def test_classes_are_named_beside_masks_that_lie_deeper(file, place, tmp_path):
    image_mask(tmp_path / 'export/v1', TWO)
    names = ('sky', 'road', 'car')
    (tmp_path / place / file).write_text({
        'classes.txt': 'sky\nroad\ncar\n', 'labelmap.txt': 'sky:0,0,0::\nroad:9,0,0::\ncar:0,9,0::\n',
        '_classes.csv': 'Pixel Value, Class\n0, sky\n1, road\n2, car\n'}[file])
    assert tuple(read(tmp_path).train_dataloader.dataset.metainfo.classes) == names
    assert read_masks(str(tmp_path), find_image_mask(str(tmp_path))).classes == names
    (tmp_path / 'classes.txt').write_text('a\nb\nc\n')  # nearer
    assert tuple(read(tmp_path).train_dataloader.dataset.metainfo.classes) == ('a', 'b', 'c')


def test_lists_of_pascal_voc_count_in_a_folder_above_its_own(tmp_path):
    root = tmp_path / 'VOCtrainval/VOCdevkit/VOC2012'
    image_mask(root, {'JPEGImages': 'SegmentationClass'})
    (root / 'ImageSets/Segmentation').mkdir(parents=True)
    (root / 'ImageSets/Segmentation/train.txt').write_text('pic 1\nsite 0/pic\n')
    (root / 'ImageSets/Segmentation/val.txt').write_text('pic 3\nsite 2/pic\n')
    found = find_image_mask(str(tmp_path))
    assert {split: one['ann_file'] for split, one in found.items()} == {
        split: f'VOCtrainval/VOCdevkit/VOC2012/ImageSets/Segmentation/{split}.txt' for split in ('train', 'val')}


def test_a_list_of_nothing_that_is_there_says_so(tmp_path):
    root = image_mask(tmp_path, {'images': 'masks'}, count=4)
    (root / 'train.txt').write_text('/data/others/1.jpg\n/data/others/2.jpg\n')
    (root / 'val.txt').write_text('pic 1\n')
    with pytest.raises(DataError, match=r"train.txt: none of its 2 lines names an image in .*, such as '/data/others"):
        read(root)


@pytest.mark.parametrize('pairs', [
    {'Train/Rural/images_png': 'Train/Rural/masks_png', 'Train/Urban/images_png': 'Train/Urban/masks_png'},
    {'a/images': 'a/masks', 'b/images': 'b/masks'}, {'train/s1/Images': 'train/s1/Labels',
                                                     'train/s2/Images': 'train/s2/Labels'}], ids=str)
def test_several_pairs_of_folders_are_refused(pairs, tmp_path):
    image_mask(tmp_path, pairs, count=2)
    (one, its), (other, theirs) = pairs.items()
    with pytest.raises(DataError) as error:
        find_image_mask(str(tmp_path))
    assert f'{one} with {its}, and {other} with {theirs}.\nName them in lists' in str(error.value)
    for split, (images, masks) in zip(('train', 'val'), pairs.items()):
        (tmp_path / f'{split}.txt').write_text(f'{images}/pic 1.jpeg\t{masks}/pic 1.png\n')
    assert find_image_mask(str(tmp_path)).keys() == {'train', 'val'}


@pytest.mark.parametrize('lie', ['{}/images {}/masks', 'images/{} masks/{}'])
def test_pairs_of_folders_of_no_split_are_said_where_others_are_splits(lie, tmp_path, monkeypatch):
    from mmvision_mamba.preflight import mask_folder
    said: list[str] = []
    monkeypatch.setattr(mask_folder, 'warn_once', said.append)
    pairs = dict(lie.format(name, name).split() for name in ('train_station', 'bus_stop', 'val'))
    image_mask(tmp_path, pairs, count=2)
    image_mask(tmp_path, {'unlabelled/images': 'elsewhere'}, count=1)
    assert {split: found['data_prefix']['img_path'] for split, found in find_image_mask(str(tmp_path)).items()} == {
        'train': lie.format('train_station', '').split()[0], 'val': lie.format('val', '').split()[0]}
    images, masks = lie.format('bus_stop', 'bus_stop').split()
    assert len(said) == 1 and said[0].endswith(f'are left out: {images} with {masks}')
    for path in [*tmp_path.rglob('bus_stop')]:
        path.rename(path.with_name('test'))
    assert find_image_mask(str(tmp_path)).keys() == {'train', 'val', 'test'} and len(said) == 1


def test_further_masks_of_an_image_are_said(tmp_path):
    rng = np.random.default_rng(0)
    for name in ('benign (1)', 'benign (2)'):
        write_image(tmp_path / f'a/{name}.png', rng)
    for name in ('benign (1)_mask', 'benign (1)_mask_1', 'benign (2)_mask'):
        write_image(tmp_path / f'a/{name}.png', rng)
    found = find_pairs(str(tmp_path / 'a'), str(tmp_path / 'a'))
    assert len(found.masks) == 2
    assert found.notes == ['1 further masks of images that have one are not read: benign (1)_mask_1.png']
    (tmp_path / 'b').mkdir()
    for path in (tmp_path / 'a').glob('*_mask*'):
        path.rename(tmp_path / 'b' / path.name)
    found = find_pairs(str(tmp_path / 'a'), str(tmp_path / 'b'))
    assert len(found.masks) == 2 and any('1 further masks of images that have one' in note for note in found.notes)


def test_names_of_images_have_their_ends_in_any_case(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(3):
        write_image(tmp_path / f'images/top_{i}_RGB.png', rng)
        write_image(tmp_path / f'masks/top_{i}_label.png', rng)
    assert len(find_pairs(str(tmp_path / 'images'), str(tmp_path / 'masks')).masks) == 3


def test_ignore_names_no_value_in_the_first_line_alone(tmp_path):
    from mmvision_mamba.datasets.class_names import class_names
    (tmp_path / 'classes.txt').write_text('__ignore__\n_background_\ncat\n')
    assert class_names(str(tmp_path)) == ('_background_', 'cat')
    (tmp_path / 'classes.txt').write_text('cat\n__ignore__\ndog\n')
    assert class_names(str(tmp_path)) == ('cat', '__ignore__', 'dog')
