"""The code of docs/ecosystem.md runs as it stands there, with local files in the place of those on the Hub."""
import re
import runpy

import numpy as np
import pytest
import torch
from PIL import Image

from ..helpers import ROOT, hub_repositories

BLOCKS = re.findall(r'```python\n(.*?)```', (ROOT / 'docs/ecosystem.md').read_text(), re.S)
PRETRAINED = {'pretrained=True': 'pretrained=False'}


@pytest.fixture
def run(monkeypatch, tmp_path):
    """run(text, replaced) executes the one block of code with that text, beside a picture; returns its names."""
    monkeypatch.chdir(tmp_path)
    array = (np.random.default_rng(0).random((80, 96, 3)) * 255).astype(np.uint8)
    Image.fromarray(array).save('photo.jpg')

    def run(text, replaced):
        code, = (block for block in BLOCKS if text in block)
        for old, new in replaced.items():
            assert old in code
            code = code.replace(old, new)
        names = {}
        exec(compile(code, 'ecosystem.md', 'exec'), names)
        return names
    return run


@pytest.fixture(scope='module')
def hub(tmp_path_factory):
    folder = hub_repositories.golden(tmp_path_factory.mktemp('hub') / 'MambaVision-T-1K')
    return {"'nvidia/MambaVision-T-1K'": repr(str(folder))}


def test_transformers(run, hub, capsys):
    pytest.importorskip('transformers')
    names = run('pipeline(', hub)
    assert 'LABEL_' in capsys.readouterr().out and names['logits'].shape == (1, 1000)
    assert names['output'].pooler_output.shape == (1, 640) and len(names['output'].hidden_states) == 4


def test_a_segmentor_of_transformers(run, hub):
    pytest.importorskip('transformers')
    names = run('UperNetConfig', hub)
    weight = names['model'].backbone.model.levels[2].blocks[0].mixer.in_proj.weight
    assert torch.equal(weight, names['backbone'].model.levels[2].blocks[0].mixer.in_proj.weight)
    assert weight.grad.abs().max() > 0


def test_timm(run, tmp_path):
    pytest.importorskip('timm', '1.0.16', reason='the first with local-dir:')
    code = {'num_classes=21': 'num_classes=3', "timm.create_model('mambavision_tiny', pretrained=True":
            "timm.create_model('mambavision_tiny', pretrained=False"}
    names = run('local-dir:', code)
    model, again = names['model'].state_dict(), names['again'].state_dict()
    assert model.keys() == again.keys() and all(torch.equal(value, again[key]) for key, value in model.items())


def test_segmentation_models_pytorch(run):
    pytest.importorskip('segmentation_models_pytorch')
    names = run('tu-mambavision', {"'imagenet'": 'None'})
    encoder = names['model'].encoder.model
    assert all(p.grad is not None for p in encoder.parameters() if p.requires_grad)


def test_a_detector_of_torchvision(run):
    names = run('FasterRCNN(', PRETRAINED)
    features = names['detector'].backbone.features
    assert all(p.grad is not None for p in features.parameters())


def test_supervision(run, model_files):
    pytest.importorskip('supervision')
    detector = model_files.detector
    names = run('supervision', {"'cascade_mask_rcnn_mambavision_t_coco'": repr(str(detector.config)),
                                "'checkpoint.pth'": repr(str(detector.checkpoint)), '> 0.3': '> 0.'})
    detections = names['detections']
    sample = names['sample'].pred_instances
    assert len(detections) == len(names['labels']) > 0 and detections.mask.shape == (len(detections), 80, 96)
    np.testing.assert_array_equal(detections.xyxy, sample.bboxes[sample.scores > 0].numpy())
    assert (names['picture'] != names['image']).any()


def test_lightning(tmp_path, monkeypatch):
    pytest.importorskip('lightning')
    for part in ('train', 'val'):
        for i, name in enumerate(('circle', 'square')):
            (tmp_path / part / name).mkdir(parents=True)
            for j in range(2):
                Image.new('RGB', (40, 40), (100 * i, 50, 60 * j)).save(tmp_path / part / name / f'{j}.png')
    monkeypatch.chdir(tmp_path)
    example = runpy.run_path(str(ROOT / 'examples/lightning/classifier.py'), run_name='classifier')
    module = example['main']([
        str(tmp_path), '--no-pretrained', '--epochs', '1', '--batch', '2', '--workers', '0', '--size', '64'])
    assert module.model.num_classes == 2 and module.trainer.global_step == 2
    saved, = tmp_path.rglob('*.ckpt')
    again = example['MambaVisionModule'].load_from_checkpoint(saved)
    assert torch.equal(again.model.head.weight, module.model.head.weight)
