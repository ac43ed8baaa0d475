"""Masks of other sizes than their images, and in formats that change class numbers, before a run."""
import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip('mmseg')

from mmvision_mamba.commands.steps.prepare import prepare_data
from mmvision_mamba.errors import ConfigError, DataError
from mmvision_mamba.preflight import check_masks
from mmvision_mamba.preflight.check_data import check_datasets
from mmvision_mamba.preflight.read import read_config

from ..helpers.custom_folders import image_mask

TWO = {'images/train': 'masks/train', 'images/val': 'masks/val'}
CONFIG = 'upernet_mambavision_t_custom'


def read(root):
    return read_config(CONFIG, dict(data_root=str(root)))


def first_mask(root, split):
    return sorted((root / 'masks' / split).rglob('*.png'))[0]


@pytest.mark.parametrize('split', ['train', 'val'])
def test_a_mask_of_another_size_stops_before_the_start(split, tmp_path, capsys):
    path = first_mask(image_mask(tmp_path, TWO), split)
    mask = Image.open(path)
    mask.resize((mask.width * 2, mask.height * 2), Image.Resampling.NEAREST).save(path)
    cfg = read(tmp_path)
    with pytest.raises(DataError, match=rf'1 of 4 masks have another size than their image; the first, {path}, is '
                                        r'160 × 128 pixels, its image 80 × 64\.\n.*--skip-bad-images'):
        check_datasets(cfg)
    prepare_data(cfg, ('train', 'val'), skip_bad_images=True)
    out = capsys.readouterr().out
    assert '1 left out' in out and f'{split}: 3 of 3 images used' in out


@pytest.mark.parametrize('split', ['val', 'test'])
def test_a_validation_that_resizes_its_masks_stops_before_the_start(split, tmp_path):
    """mmseg compares them with predictions of the image's size: an IndexError at the first."""
    image_mask(tmp_path, TWO)
    cfg = read(tmp_path)
    pipeline = cfg[f'{split}_dataloader'].dataset.pipeline
    prepare_data(cfg, (split,), skip_bad_images=False)
    names = [step['type'] for step in pipeline]
    masks = pipeline.pop(names.index('LoadAnnotations'))
    pipeline.insert(1, masks)
    with pytest.raises(ConfigError, match=rf'{split}_dataloader\.dataset\.pipeline changes masks.* has 64 × 80 .*'
                                          r'\nPut LoadAnnotations behind Resize, just before PackSegInputs'):
        prepare_data(cfg, (split,), skip_bad_images=False)
    pipeline[names.index('LoadAnnotations')].update(scale=(80, 64))  # the very size that all have
    prepare_data(cfg, (split,), skip_bad_images=False)


def test_a_picture_that_its_header_turns_has_its_mask_upright(tmp_path, ade):
    """Its width and height are those out of the pipeline."""
    path = tmp_path / 'ade/ADEChallengeData2016/images/training/0.jpg'
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    with pytest.raises(DataError, match='another size than their image'):
        check_datasets(ade)
    mask = tmp_path / 'ade/ADEChallengeData2016/annotations/training/0.png'
    Image.open(mask).transpose(Image.Transpose.ROTATE_270).save(mask)
    check_datasets(ade)


def as_jpeg(root, quality):
    for path in list((root / 'masks').rglob('*.png')):
        Image.open(path).save(path.with_suffix('.jpg'), quality=quality)
        path.unlink()


def test_small_class_numbers_in_jpeg_are_refused_unless_they_are_named(tmp_path, monkeypatch):
    root, said = image_mask(tmp_path, TWO), []
    rng = np.random.default_rng(0)
    for path in (root / 'masks').rglob('*.png'):  # shapes whose outlines JPEG smears
        mask = np.zeros((64, 80), np.uint8)
        for value in (1, 2, 3):
            cv2.circle(mask, (int(rng.integers(80)), int(rng.integers(64))), 15, value, -1)
        cv2.imwrite(str(path), mask)
    as_jpeg(root, 60)
    with pytest.raises(DataError, match=r'such as JPEG\. The masks have .*\n.*export them as PNG'):
        read(root)
    (root / 'classes.txt').write_text('\n'.join('abcdefgh'))
    for module in ('mmvision_mamba.datasets.mask_values', check_masks.__name__):
        monkeypatch.setattr(f'{module}.warn_once', said.append)
    check_datasets(read(root))
    assert said and all('such as JPEG: class numbers may be wrong along outlines' in text for text in said)


def test_lossless_formats_pass(tmp_path, monkeypatch):
    root, said = image_mask(tmp_path, TWO), []
    for i, path in enumerate(sorted((root / 'masks').rglob('*.png'))):
        suffix, options = [('.bmp', {}), ('.tif', dict(compression='tiff_lzw')), ('.gif', {})][i % 3]
        Image.open(path).save(path.with_suffix(suffix), **options)
        path.unlink()
    for module in ('mmvision_mamba.datasets.mask_values', check_masks.__name__):
        monkeypatch.setattr(f'{module}.warn_once', said.append)
    check_datasets(read(root))
    assert not said
