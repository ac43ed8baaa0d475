"""A config that names bands gets the loader, normalisation and backbone for them; what can't be is named."""
import shutil
import sys

import numpy as np
import pytest
from mmengine.registry import DATASETS, MODELS, DefaultScope

from mmvision_mamba.errors import ConfigError, DataError, MissingExtraError
from mmvision_mamba.preflight.check_model import check_model
from mmvision_mamba.preflight.datasets import datasets_of
from mmvision_mamba.preflight.read import read_config

from ..helpers.bands import NODATA, config, fields, objects, write_tiff

BANDS = [12, 1, 4, 4, 7]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    pytest.importorskip('tifffile')
    return fields(tmp_path_factory.mktemp('bands') / 'fields')


@pytest.fixture
def read(data, tmp_path):
    def reading(base='upernet', root=data, needs=('model',), trained=False, **options):
        return read_config(config(tmp_path / f'{base}.py', base), {
            'data_root': str(root), 'custom_data.bands': BANDS, **options}, needs, refuse_broken=True, trained=trained)
    return reading


def test_a_segmentor_of_five_bands(read, data, capsys):
    cfg = read(**{'custom_data.shown_bands': [7, 4, 1]})
    assert 'bands 12, 1, 4, 4, 7 of 12 (uint16); mean and std measured on 3 images' in capsys.readouterr().out
    assert 'custom_data' not in cfg and cfg.model.backbone.arch.in_channels == 5
    check_model(cfg, ('train',))
    preprocessor = cfg.model.data_preprocessor
    values = [read_tiff(path) for path in sorted((data / 'images/train').iterdir())]
    chosen = [number - 1 for number in BANDS]
    values = np.concatenate([image.reshape(-1, 12)[:, chosen] for image in values]).astype(float)
    values[values == NODATA] = np.nan
    np.testing.assert_allclose(preprocessor.mean, np.nanmean(values, 0), rtol=1e-5)
    np.testing.assert_allclose(preprocessor.std, np.nanstd(values, 0), rtol=1e-5)
    assert not preprocessor.bgr_to_rgb
    (_, dataset, _), = datasets_of(cfg, 'train')
    loader = next(step for step in dataset.pipeline if 'bands' in step)
    assert (loader.bands, loader.fill, loader.shown) == (BANDS, preprocessor.mean, [7, 4, 1])
    assert [step.type.split('.')[-1] for step in dataset.pipeline] == [
        'LoadImageFromFile', 'LoadAnnotations', 'Resize', 'RandomCrop', 'BandDistortion', 'PackSegInputs']
    with DefaultScope.overwrite_default_scope('mmseg'):
        item = DATASETS.build(dataset)[0]
        inputs = MODELS.build(preprocessor)(dict(inputs=[item['inputs']], data_samples=[item['data_samples']]), True)
    assert inputs['inputs'].shape == (1, 5, 64, 80) and inputs['inputs'].isfinite().all()


def read_tiff(path):
    import tifffile
    image = tifffile.imread(path)
    return image if image.shape[2] == 12 else image.transpose(1, 2, 0)


def test_a_detector_of_four_bands_keeps_what_is_set(read, tmp_path):
    root = objects(tmp_path / 'objects')
    cfg = read('faster_rcnn', root, **{'custom_data.bands': [1, 2, 3, 4],
                                       'model.data_preprocessor.mean': [-2., -1.5, -1.25, -1.],
                                       'model.data_preprocessor.std': [1., 1., 1., 1.]})
    assert cfg.model.data_preprocessor.type.endswith('BandPreprocessor')
    assert cfg.model.data_preprocessor.mean == [-2., -1.5, -1.25, -1.]
    check_model(cfg, ('train', 'val'))
    (_, dataset, _), = datasets_of(cfg, 'train')
    with DefaultScope.overwrite_default_scope('mmdet'):
        items = [DATASETS.build(dataset)[i] for i in range(2)]
        batch = MODELS.build(cfg.model.data_preprocessor)(
            {key: [item[key] for item in items] for key in ('inputs', 'data_samples')}, True)
    assert batch['inputs'].shape[:2] == (2, 4) and batch['inputs'].isfinite().all()


def test_a_tool_that_builds_no_model_measures_nothing(read):
    cfg = read(needs=())
    assert cfg.model.data_preprocessor.mean == [123.675, 116.28, 103.53]
    assert datasets_of(cfg, 'val')[0][1].pipeline[0].fill is None


def test_tiffs_without_tifffile_name_the_extra(read, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tifffile', None)
    with pytest.raises(MissingExtraError, match='bands of a TIFF needs'):
        read()


def test_of_a_trained_model_mean_and_std_are_given(read):
    own = {f'model.data_preprocessor.{key}': [2.] * 5 for key in ('mean', 'std')}
    assert read(trained=True, **own).model.data_preprocessor.mean == [2.] * 5
    with pytest.raises(ConfigError, match=r'or set model\.data_preprocessor\.mean and \.std'):
        read(trained=True)


@pytest.mark.parametrize(('options', 'error', 'message'), [
    ({'custom_data.bands': [1, 13]}, DataError, r'\d.tif: it has 12 bands, and band 13 is to be read'),
    ({'custom_data.bands': [0]}, ConfigError, 'expected numbers of bands, counted from 1'),
    ({'custom_data.shown_bands': [1, 2, 4]}, ConfigError, 'custom_data.shown_bands is .*: expected three of the bands'),
    ({'model.data_preprocessor.mean': [1.] * 4, 'model.data_preprocessor.std': [1.] * 4}, ConfigError,
     'data_preprocessor.mean has 4 values, and custom_data.bands names 5'),
    ({'model.data_preprocessor.mean': [1.] * 5}, ConfigError, 'data_preprocessor.std is not set beside the other'),
    ({'model.backbone.type': 'ResNet'}, ConfigError, 'model.backbone is ResNet, and MambaVision is the one')])
def test_what_can_not_be_is_named(options, error, message, read):
    with pytest.raises(error, match=message):
        read(**options)


@pytest.mark.parametrize(('step', 'message'), [
    ("dict(type='CLAHE')", 'train_dataloader.dataset.pipeline.0: CLAHE changes colours of 8 bits'),
    ("dict(type='RandomMosaic', prob=1.)", 'RandomMosaic puts images together on a canvas of three colours'),
    ("dict(type='RandomChoice', transforms=[[dict(type='Albu', transforms=[])]])", 'Albu takes images of 8 bits'),
    ("dict(type='mmdet.RandAugment')", 'RandAugment changes colours of 8 bits unless its aug_space'),
    ("dict(type='Resize', scale=(80, 64), interpolation='area')", 'resizes 4 bands at most'),
    ("dict(type='mmdet.Rotate', prob=1.)", 'Rotate fills what comes in at the borders with three colours'),
    ("dict(type='Pad', size_divisor=32, pad_val=dict(img=(1, 2, 3)))", 'Pad has 3 values as pad_val')])
def test_transforms_of_three_colours_are_refused_by_name(step, message, data, tmp_path):
    path = config(tmp_path / 'upernet.py')
    path.write_text(path.read_text() + f'train_dataloader["dataset"]["pipeline"].insert(0, {step})\n')
    with pytest.raises(ConfigError, match=message):
        read_config(path, {'data_root': str(data), 'custom_data.bands': BANDS})


@pytest.mark.parametrize(('bands', 'dtype'), [(11, np.uint16), (12, np.uint8)])
def test_a_file_of_other_bands_or_type_is_named(bands, dtype, data, read, tmp_path):
    root = shutil.copytree(data, tmp_path / 'mixed')
    write_tiff(root / 'images/train/1.tif', np.ones((67, 87, bands), dtype))
    with pytest.raises(DataError, match=rf'train.1.tif: it has {bands} bands of {np.dtype(dtype)}, and 2 of 3 images '
                       'looked at have 12 bands of uint16'):
        read(root=root, **{'custom_data.bands': [1, 2]})


def test_a_band_without_values_is_named(read, tmp_path):
    root = fields(tmp_path / 'empty', bands=2)
    for path in (root / 'images/train').iterdir():
        image = np.full((*read_size(path), 2), 5, np.uint16)
        image[..., 1] = NODATA
        write_tiff(path, image, NODATA)
    with pytest.raises(DataError, match='band 2 has no values there'):
        read(root=root, **{'custom_data.bands': [1, 2]})


def read_size(path):
    import tifffile
    with tifffile.TiffFile(path) as file:
        return file.pages[0].imagelength, file.pages[0].imagewidth
