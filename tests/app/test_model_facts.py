"""The page says which model it shows, and what that was trained on."""
import json

import pytest
import torch

from mmvision_mamba.app.model_facts import model_facts
from mmvision_mamba.inference import Inferencer

from ..helpers.small_configs import SEGMENTOR


def test_random_weights_say_so(models):
    facts = dict(model_facts(models['Instances']))
    assert facts['weights'] == 'random: the predictions mean nothing' and 'trained' not in facts
    assert 'CascadeRCNN' in facts['model'] and 'MambaVision' in facts['model']
    assert facts['classes'] == '3: ellipse, rectangle, triangle'


@pytest.fixture
def trained(models, tmp_path):
    (tmp_path / 'net.py').write_text(SEGMENTOR)
    meta = dict(iter=1500, epoch=0, dataset_meta=dict(classes=('<b>', 'b', 'c', 'd')))
    torch.save(dict(state_dict=models['Semantic map'].model.state_dict(), meta=meta), tmp_path / 'iter_1500.pth')
    return tmp_path


def facts_of(folder):
    options = {'train_dataloader.dataset.data_root': '/secret/place/shapes'}
    return dict(model_facts(Inferencer(folder / 'net.py', folder / 'iter_1500.pth', cfg_options=options,
                                       show_progress=False)))


def test_a_trained_model(trained):
    facts = facts_of(trained)
    assert facts['weights'] == 'iter_1500.pth' and facts['model'].startswith('UPerHead, MambaVision')
    assert facts['trained'].endswith('shapes for 1500 iterations') and 'secret' not in str(facts)
    assert facts['classes'].startswith('4: <b>, b') and 'validation' not in facts


@pytest.mark.parametrize(('step', 'shown'), [(1500, True), (1000, False)])
def test_the_validation_is_the_checkpoint_s_own(step, shown, trained):
    log = trained / 'start/vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text('\n'.join(json.dumps(line) for line in (
        dict(loss=1.5, iter=500, step=500), dict(mIoU=12., aAcc=20., step=500), dict(mIoU=85.6, aAcc=90., step=step))))
    assert facts_of(trained).get('validation') == ('mIoU 85.6' if shown else None)
