import pytest
import torch
from PIL import Image


def test_costs_of_a_config_and_of_an_arch(tool, model_files, tmp_path):
    run = tool('model_info', model_files.detector.config, '--out', tmp_path / 'info.png')
    assert run.code == 0, run.err
    parts = ['stem', 'stage 1', 'stage 2', 'stage 3', 'stage 4', 'neck', 'rpn_head', 'roi_head', 'total']
    assert [line[:8].strip() for line in run.out.splitlines()[-1 - len(parts):-1]] == parts
    state = torch.load(model_files.detector.checkpoint, weights_only=True)['state_dict']
    number = sum(v.numel() for k, v in state.items() if not k.endswith(('running_mean', 'running_var', 'tracked')))
    total = next(line for line in run.out.splitlines() if line.startswith('total')).split()
    assert float(total[1]) == pytest.approx(number / 1e6, abs=0.01)
    assert float(total[3]) > 0
    with Image.open(tmp_path / 'info.png') as picture:
        assert picture.width > 800
    run = tool('model_info', 'tiny', '--size', 64, '--no-memory')  # as with --arch
    assert run.code == 0, run.err
    assert '31.79' in run.out


@pytest.mark.parametrize('arguments, message', [
    ([], 'name a config file or --arch'),
    (['--arch', 'tiny', '--size', '16'], '32 pixels or more'),
    (['--arch', 'tiny', '--size', '9' * 18], 'images have at most 178956970 pixels'),
    (['--arch', 'tiny', '--size', '9' * 12, '64'], 'images have at most 178956970 pixels'),
    (['--arch', 'tiny', '--window-size', '8', '4', '2'], 'windows of stages 3 and 4, or one for both'),
    (['missing.py'], 'config file not found'),
    (['tinny'], "tinny is neither a config nor an arch (did you mean 'tiny'?)")])
def test_it_tells_wrong_input_in_a_line(tool, arguments, message):
    run = tool('model_info', *arguments)
    assert (run.code, len(run.errors)) == (2, 1)
    assert message in run.err


@pytest.mark.parametrize('setting, message', [
    ('model.rpn_head.anchor_generator.ratios=[]', 'its model can not be run on an image of 64 × 64'),
    ('model.neck.num_outs=100', 'its model can not be run on an image of 64 × 64'),
    ('test_dataloader.dataset.pipeline.1.scale=[1e9,1e9]', 'give --size HEIGHT WIDTH'),
    ('test_dataloader.dataset.pipeline.1.scale=64', 'give --size HEIGHT WIDTH'),
    ('test_dataloader.dataset.pipeline.1.scale=[-64,64]', 'give --size HEIGHT WIDTH')])
def test_settings_that_no_image_can_be_run_with_are_told_in_a_line(tool, model_files, setting, message):
    size = [] if 'scale' in setting else ['--size', 64]
    run = tool('model_info', model_files.detector.config, '--no-memory', *size, '--cfg-options', setting)
    assert (run.code, len(run.errors)) == (2, 1), run.err
    assert message in run.err


def test_a_number_of_a_gpu_that_torch_makes_another_of_is_told(tool):
    run = tool('model_info', 'tiny', '--size', 64, '--device', 'cuda:999')
    assert (run.code, len(run.errors)) == (2, 1) and "device 'cuda:999': this machine has" in run.err


def test_whole_numbers_have_64_bits(tool):
    run = tool('model_info', '--arch', 'tiny', '--gpus', '9' * 20)
    assert run.code == 2 and 'argument --gpus: invalid int value' in run.err
