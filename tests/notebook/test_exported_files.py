"""`Model` of an exported file."""
import pytest

from mmvision_mamba.errors import ConfigError, DataError
from mmvision_mamba.notebook import Model


def test_it_predicts_and_is_tested_on_a_folder(exported_files, segmentor, shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = Model(exported_files['segmentor.onnx'], data=shapes)
    photo = next(path for path in sorted(shapes.rglob('*.png')) if 'mask' not in str(path))
    wanted = segmentor.predict(str(photo)).pop().pred_sem_seg.data
    assert (model.predict(str(photo))[0].pred_sem_seg.data == wanted).float().mean() > 0.999
    assert model.test()['mIoU'] > 0 and model.metrics['mIoU'] > 0
    assert 'segmentor.onnx' in model._repr_html_()


@pytest.mark.parametrize('method', ['train', 'export'])
def test_what_needs_a_checkpoint_is_refused(method, exported_files, model_files):
    for arguments in ((exported_files['segmentor.onnx'],), (model_files.segmentor.config,
                                                            exported_files['segmentor.onnx'])):
        with pytest.raises(ConfigError, match='is an exported file'):
            getattr(Model(*arguments), method)()


def test_weights_beside_it_are_refused(exported_files, model_files):
    with pytest.raises(ConfigError, match='which has weights of its own'):
        Model(exported_files['segmentor.onnx'], model_files.segmentor.checkpoint)


def test_without_data_it_is_not_tested(exported_files, tmp_path):
    with pytest.raises(ConfigError, match='Give --data FOLDER'):
        Model(exported_files['segmentor.onnx'], work_dir=tmp_path).test()
    with pytest.raises(DataError, match='no such folder'):
        Model(exported_files['segmentor.onnx'], data=tmp_path / 'gone', work_dir=tmp_path).test()
