"""`Model`: train, test, predict and export as the commands do, several times in one process."""
import json

import numpy as np
import pytest
import torch
from mmengine import Config

from mmvision_mamba import Inferencer, Model
from mmvision_mamba.checkpoints.reading import read_checkpoint
from mmvision_mamba.errors import CheckpointError, ConfigError, DataError, UserError

from ..helpers.small_configs import DETECTOR, SEGMENTOR


def photo(seed=0, size=(64, 80)):
    return np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)


def test_data_of_ones_own_take_the_place_of_a_configs(trained):
    detector, segmentor = trained['detector'], trained['segmentor']
    assert detector.cfg.train_dataloader.dataset.metainfo.classes == ('cat', 'dog')
    assert detector.cfg.model.roi_head.mask_head.num_classes == 2
    assert segmentor.cfg.model.decode_head.num_classes == 3
    assert 'custom_data' not in segmentor.cfg


def test_a_training_leaves_an_ordinary_config_and_its_weights_in_the_work_directory(trained):
    for name, model in trained.items():
        cfg = Config.fromfile(model.work_dir / f'{name}.py')
        assert cfg.train_dataloader.batch_size == 2 and cfg.optim_wrapper.optimizer.lr == 1e-3
        assert cfg.train_cfg.max_iters == 2  # four images, two a batch
        assert model.weights.startswith(str(model.work_dir)) and model.weights.endswith('.pth')
        Inferencer(model.weights, device='cpu', show_progress=False)  # alone, as after `mmvision-mamba train`


def test_trainings_in_one_process_write_to_their_own_folders(trained):
    for name, model in trained.items():
        scalars, = model.work_dir.glob('*/vis_data/scalars.json')
        iterations = [json.loads(line).get('iter') for line in scalars.read_text().splitlines()]
        assert [i for i in iterations if i] == [1, 2], name


def test_the_log_directory_of_a_second_training_in_the_same_folder_is_its_own(trained, own_data, tmp_path):
    (tmp_path / 'again.py').write_text(SEGMENTOR)
    model = Model(tmp_path / 'again.py', data=own_data / 'masks', work_dir=tmp_path / 'work')
    model.train(batch=4, no_pretrained=True, **{'train_cfg.max_iters': 1})
    first = model.weights
    model.train(batch=4, **{'train_cfg.max_iters': 2, 'train_cfg.val_interval': 9})  # from the weights of the first
    folders = sorted((tmp_path / 'work').glob('*/vis_data'))
    assert len(folders) == 2 and all((folder / 'scalars.json').stat().st_size for folder in folders)
    assert Config.fromfile(tmp_path / 'work/again.py').load_from == first
    assert model.weights.endswith('iter_2.pth')


def test_metrics_are_those_of_the_command_and_a_table(trained):
    model = trained['segmentor']
    metrics = model.test()
    assert metrics == json.loads((model.work_dir / 'metrics.json').read_text()) == model.metrics
    assert 'mIoU' in metrics
    assert '<td>mIoU</td>' in metrics._repr_html_() and 'mIoU' in model._repr_html_()


def test_predictions_are_the_inferencers_and_pictures(trained):
    model = trained['segmentor']
    found = model.predict([photo(), photo(1)], batch_size=2)
    expected = Inferencer(model.cfg, model.weights, show_progress=False).predict([photo(), photo(1)], batch_size=2)
    assert [(a.pred_sem_seg.data == b.pred_sem_seg.data).all() for a, b in zip(found, expected)] == [True, True]
    assert len(found) == 2 and found.pictures()[0].shape[2] == 3
    html = found._repr_html_()
    assert html.count('data:image/jpeg;base64,') == 2 and '<script' not in html


def test_a_detector_predicts_an_image_by_its_path(trained, own_data):
    found = trained['detector'].predict(own_data / 'coco/train/pic 0.JPG', score_thr=0.)
    assert len(found) == 1 and 'masks' in found[0].pred_instances
    assert 'pic 0.JPG' in found._repr_html_()


def test_a_threshold_that_there_is_not_is_told_before_anything_is_predicted(trained):
    with pytest.raises(ConfigError, match='label maps have no scores'):
        trained['segmentor'].predict(photo(), score_thr='auto')


def test_a_model_is_exported_to_its_work_directory(trained):
    pytest.importorskip('onnxruntime')
    path = trained['segmentor'].export(shape=(64, 64))
    assert path == trained['segmentor'].work_dir / 'segmentor.onnx' and path.is_file()


def test_ctrl_c_keeps_the_last_checkpoint(trained, own_data, tmp_path, monkeypatch):
    from mmvision_mamba.engine.hooks.safe_checkpoint import SafeCheckpointHook
    (tmp_path / 'stopped.py').write_text(SEGMENTOR)
    model = Model(tmp_path / 'stopped.py', data=own_data / 'masks', work_dir=tmp_path / 'work')
    save = SafeCheckpointHook.after_train_iter

    def interrupted(self, runner, *args, **kwargs):
        save(self, runner, *args, **kwargs)
        if runner.iter == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(SafeCheckpointHook, 'after_train_iter', interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.train(no_pretrained=True, **{'default_hooks.checkpoint.interval': 1})
    assert model.weights.endswith('iter_1.pth')
    model.predict(photo())  # of what it has learnt so far
    monkeypatch.undo()
    model.train(resume=True, **{'train_cfg.max_iters': 2, 'train_cfg.val_interval': 9})
    assert model.weights.endswith('iter_2.pth')


def test_a_failed_training_leaves_weights_and_config_as_they_are(trained):
    model = trained['segmentor']
    before, text = model.weights, (model.work_dir / 'segmentor.py').read_text()
    with pytest.raises(ConfigError, match=r'would do nothing|no key'):
        model.train(lernrate=1)
    assert model.weights == before and (model.work_dir / 'segmentor.py').read_text() == text


def test_resuming_where_there_is_nothing_begins_with_the_given_weights(trained, own_data, tmp_path):
    given = trained['segmentor'].weights
    (tmp_path / 'again.py').write_text(SEGMENTOR)
    model = Model(tmp_path / 'again.py', given, own_data / 'masks', tmp_path / 'new')
    model.train(batch=2, resume=True, lr=1e-12, **{'train_cfg.max_iters': 1, 'train_cfg.val_interval': 9,
                                          'default_hooks.checkpoint.interval': 1})
    before, after = (read_checkpoint(path)['state_dict'] for path in (given, model.weights))
    key = 'decode_head.conv_seg.weight'
    assert model.weights != given and torch.allclose(before[key], after[key], atol=1e-6)


def test_a_test_leaves_the_config_of_the_training(trained):
    model = trained['segmentor']
    path = model.work_dir / 'segmentor.py'
    before = path.read_text()
    model.test(**{'model.data_preprocessor.mean': [0., 0., 0.]})
    assert path.read_text() == before and model.cfg.model.data_preprocessor.mean != [0., 0., 0.]


def test_a_resumed_training_that_ends_before_it_begins_takes_no_other_models_weights(trained):
    first, last = trained.values()  # of the process: what mmengine keeps of a run is the last one's
    for model in (first, last):
        before = model.weights
        with pytest.raises(ConfigError, match='lrr'):
            model.train(resume=True, **{'optim_wrapper.optimizer.lrr': 1})
        assert model.weights == before and model.weights.startswith(str(model.work_dir))


@pytest.mark.parametrize(('call', 'message'), [
    (lambda m: m.train(epochs=0), r'^epochs is 0: expected a whole number above 0'),
    (lambda m: m.train(batch='two'), r'^batch is two: expected a whole number'),
    (lambda m: m.train(lr=float('nan')), r'^lr is nan: expected a number'),
    (lambda m: m.train(on_divergence='hope'), r"^on_divergence is 'hope': expected one of stop, rollback, skip"),
    (lambda m: m.train(work_dir='x'), r'^work_dir is set by Model'),
    (lambda m: m.train(epoch=1), r"no key 'epoch' \(did you mean 'epochs'\?\)"),
    (lambda m: m.train(on_divergense='skip'), r"no key 'on_divergense' \(did you mean 'on_divergence'\?\)"),
    (lambda m: m.export('onyx'), r"^export has no format 'onyx' \(did you mean 'onnx'\?\)"),
    (lambda m: m.predict(photo(), devise='cpu'), r"^the Inferencer has no option 'devise'"),
    (lambda m: m.test(**{'test_dataloader.batch_sise': 1}), r'batch_sise')])
def test_wrong_arguments_are_named(trained, call, message):
    with pytest.raises(UserError, match=message):
        call(trained['segmentor'])


def test_without_weights_there_is_nothing_to_test(configs, own_data):
    model = Model(configs.detector, data=own_data / 'coco')
    with pytest.raises(ConfigError, match=r"^detector has no weights yet: train it, or name a checkpoint"):
        model.test()
    with pytest.raises(CheckpointError, match=r'checkpoint not found|no such file|not there'):
        Model(configs.detector, 'nowhere.pth').predict(photo())


def test_an_image_that_is_not_there_is_named(trained):
    with pytest.raises(DataError, match=r'nowhere.jpg: no such file'):
        trained['segmentor'].predict('nowhere.jpg')


def test_a_folder_that_is_not_there_is_named(configs):
    with pytest.raises(DataError, match=r'^nowhere: no such folder'):
        Model(configs.detector, data='nowhere')


def test_a_folder_of_the_configs_own_layout_is_only_another_root(configs, shapes):
    model = Model(configs.detector, data=shapes)
    assert model.cfg.train_dataloader.dataset.data_root == str(shapes)
    assert model.cfg.train_dataloader.dataset.metainfo.classes == ('ellipse', 'rectangle', 'triangle')


def test_errors_of_libraries_are_the_lines_that_the_command_prints(configs, own_data):
    model = Model(configs.detector, data=own_data / 'coco')
    with pytest.raises(UserError, match='NoLoop') as raised:
        model.train(no_pretrained=True, **{'train_cfg.type': 'NoLoop'})
    assert len(str(raised.value).splitlines()) <= 3


def test_a_config_alone_needs_no_data_to_be_described(tmp_path):
    (tmp_path / 'alone.py').write_text(DETECTOR)
    model = Model('cascade_mask_rcnn_mambavision_t_coco')
    assert model.name == 'cascade_mask_rcnn_mambavision_t_coco' and model.weights is None
    assert 'cascade_mask_rcnn_mambavision_t_coco' in model._repr_html_()


def test_a_folder_of_data_chooses_config_and_settings(own_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = Model(own_data / 'coco', cfg_options={'train_cfg.val_interval': 7})
    assert 'coco: 4 images to train with' in capsys.readouterr().out
    assert model.name == 'cascade_mask_rcnn_mambavision_t_custom' and model.work_dir == tmp_path / 'work_dirs/coco'
    assert (model.cfg.train_cfg.max_epochs, model.cfg.train_cfg.val_interval) == (100, 7)
    assert model.cfg.train_dataloader.dataset.data_root == str(own_data / 'coco')
    assert Model(own_data / 'masks', work_dir='elsewhere').work_dir == tmp_path / 'elsewhere'
    with pytest.raises(ConfigError, match='is a folder of data itself: leave one out'):
        Model(own_data / 'coco', data=own_data / 'masks')


@pytest.mark.parametrize(('arguments', 'name'), [
    ((None,), 'config'), ((5,), 'config'), ((b'a.py',), 'config'), (('',), 'config'), (([],), 'config'),
    (('upernet_mambavision_t_custom', 5), 'weights'), (('upernet_mambavision_t_custom', None, b'x'), 'data'),
    (('upernet_mambavision_t_custom', None, None, ''), 'work_dir'),
    (('upernet_mambavision_t_custom', None, None, None, 'a=b'), 'cfg_options')])
def test_arguments_of_other_types_are_named(arguments, name):
    with pytest.raises(ConfigError, match=rf'^{name} is .*: expected .*$'):
        Model(*arguments)
