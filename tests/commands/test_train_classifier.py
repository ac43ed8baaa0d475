"""Classification through the same two tools: train, resume, test, published weights, and what wrong input gets."""
import json
import pickle

import mmcv
import numpy as np
import pytest
import torch

from mmvision_mamba.backbones import MambaVisionClassifier
from mmvision_mamba.classification import PackImage
from mmvision_mamba.datasets import make_shapes

from ..data.golden.weights import fill
from ..helpers.small_configs import CLASSIFIER as CONFIG
from ..helpers.small_models import SMALL


@pytest.fixture(scope='session')
def objects(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'shapes_objects'
    make_shapes(root, train=9, val=4, seed=0, size=(48, 64), kind='objects')
    return root


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'classifier.py'
    path.write_text(CONFIG)
    return path


def scores(model, path):
    """Of an image file, without mmengine."""
    inputs = PackImage(64, crop_pct=1.)(dict(img=mmcv.imread(path), gt_label=0, img_path=path))['inputs']
    with torch.no_grad():
        return model.eval()(inputs[None])[0].softmax(-1)


def test_train_resume_test(tool, config, objects, tmp_path):
    wd, data = tmp_path / 'wd', ('--cfg-options', f'data_root={objects}')
    result = tool('train', config, '--work-dir', wd, *data)
    assert result.code == 0, result.err[-3000:]
    assert len(list(wd.glob('best_accuracy_top1_*.pth'))) == 1
    result = tool('train', config, '--work-dir', wd, '--resume', *data, 'train_cfg.max_iters=5')
    assert result.code == 0 and 'iter_4.pth' in result.out + result.err, result.err[-3000:]
    out = tmp_path / 'predictions.pkl'
    result = tool('test', config, wd / 'iter_5.pth', '--work-dir', tmp_path / 'test', '--out', out, *data)
    assert result.code == 0, result.err[-3000:]
    top1 = json.loads((tmp_path / 'test' / 'metrics.json').read_text())['accuracy/top1']
    predictions = pickle.loads(out.read_bytes())
    labels = ['ellipse', 'rectangle', 'triangle']
    right = [labels[p['pred_label']] == p['img_path'].split('/')[-2] for p in predictions]
    assert len(right) == 4 and top1 == pytest.approx(100 * np.mean(right))

    # create_model reads what was trained, the averaged weights, and gives the same classes.
    model = MambaVisionClassifier(SMALL, num_classes=3)
    model.load_pretrained(wd / 'iter_5.pth')
    for prediction in predictions:
        found = scores(model, prediction['img_path'])
        torch.testing.assert_close(found, prediction['pred_scores'], rtol=1e-3, atol=1e-4)

    (objects / 'val' / 'zebra').mkdir()
    try:
        (objects / 'val' / 'zebra' / '0.png').write_bytes(next(objects.glob('val/*/*.png')).read_bytes())
        result = tool('train', config, '--work-dir', tmp_path / 'wd2', *data)
        assert result.code == 2 and "its classes are not the training set's (and besides zebra)" in result.err
        assert not (tmp_path / 'wd2').exists()
    finally:
        (objects / 'val' / 'zebra' / '0.png').unlink()
        (objects / 'val' / 'zebra').rmdir()


@pytest.mark.parametrize('wrapping', ['bare', 'state_dict', 'module', 'transformers'])
def test_published_weights_are_evaluated(wrapping, tool, config, objects, tmp_path):
    """The file as it is downloaded, with keys of its own and no mmengine in it; and the scores are the model's."""
    model = fill(MambaVisionClassifier(SMALL, num_classes=3)).eval()
    state = model.state_dict()
    torch.save(dict(bare=state, state_dict=dict(state_dict=state, epoch=3),
                    module=dict(model={f'module.{k}': v for k, v in state.items()}),
                    transformers={f'model.{k}': v for k, v in state.items()})[wrapping], tmp_path / 'w.pth.tar')
    result = tool('test', config, tmp_path / 'w.pth.tar', '--work-dir', tmp_path / 'wd', '--out', tmp_path / 'p.pkl',
                  '--cfg-options', f'data_root={objects}')
    assert result.code == 0, result.err[-3000:]
    prediction = pickle.loads((tmp_path / 'p.pkl').read_bytes())[0]
    torch.testing.assert_close(prediction['pred_scores'], scores(model, prediction['img_path']), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(('options', 'message'), [
    (['model.num_classes=5'], 'the model has 5 classes, {root}/train has 3: set model.num_classes=3'),
    (["val_evaluator.topk=(1,5)", "test_evaluator.topk=(1,5)"], 'top 5 of 3 classes'),
    (['model.backbone.arch=tinny'], "did you mean 'tiny'"),
    (['model.mixup.alpha=1'], 'alpha')])
def test_wrong_input(options, message, tool, config, objects, tmp_path):
    result = tool('train', config, '--work-dir', tmp_path / 'wd', '--cfg-options', f'data_root={objects}', *options)
    assert result.code == 2 and message.format(root=objects) in result.err, result.err[-2000:]
    assert not (tmp_path / 'wd').exists(), 'after an iteration, which may be hours'


def test_data_that_is_not_there(tool, config, tmp_path):
    result = tool('train', config, '--work-dir', tmp_path / 'wd', '--cfg-options', 'data_root=/nowhere/shapes_objects')
    assert result.code == 2 and 'mmvision-mamba make-shapes --kind objects' in result.err
    assert not (tmp_path / 'wd').exists()
