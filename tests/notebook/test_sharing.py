"""A trained model saved, loaded, pushed and loaded from the Hub, with equal predictions; and what is not loaded."""
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from mmengine import Config
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from mmvision_mamba import Model
from mmvision_mamba.commands import main
from mmvision_mamba.errors import CheckpointError, ConfigError, DataError, UserError
from mmvision_mamba.made_beside import made_beside
from mmvision_mamba.sharing import folder as folder_module

from ..helpers.hub_server import hub_of_a_user, use
from ..helpers.safetensors_bytes import entry, file_of

PHOTO = np.random.default_rng(0).integers(0, 255, (64, 80, 3), np.uint8)


@pytest.fixture(scope='module')
def saved(trained, tmp_path_factory):
    """The folders of a detector and a segmentor, the latter with metrics."""
    root = tmp_path_factory.mktemp('saved')
    trained['segmentor'].test()
    return {name: model.save(root / name) for name, model in trained.items()}


@pytest.fixture
def server(tmp_path, monkeypatch):
    with hub_of_a_user(tmp_path, monkeypatch) as found:
        yield found


def same(a, b) -> bool:
    if 'pred_sem_seg' in a:
        return torch.equal(a.pred_sem_seg.data, b.pred_sem_seg.data)
    a, b = a.pred_instances, b.pred_instances
    return len(a) > 0 and torch.equal(a.bboxes, b.bboxes) and torch.equal(a.scores, b.scores)


@pytest.mark.parametrize('name', ['detector', 'segmentor'])
def test_a_saved_model_predicts_the_same_elsewhere(trained, saved, name, tmp_path):
    copy = shutil.copytree(saved[name], tmp_path / 'elsewhere')
    model = Model.load(copy, work_dir=tmp_path / 'work')
    assert same(trained[name].predict(PHOTO)[0], model.predict(PHOTO)[0])
    assert model.inferencer().classes == trained[name].inferencer().classes
    assert model.inferencer().palette == trained[name].inferencer().palette
    assert model.metrics == trained[name].metrics


def test_a_folder_is_data_alone_and_names_no_path_of_this_machine(saved):
    assert {path.name for path in saved['detector'].iterdir()} == {*folder_module.FILES}
    for folder in saved.values():
        text = (folder / 'config.json').read_text()
        content = json.loads(text, parse_constant=lambda name: pytest.fail(name))
        assert content['library_name'] == 'mmvision_mamba' and content['preprocessing']['channel_order'] == 'RGB'
        assert str(folder.parent) not in text and '/tmp' not in text and '/pytest' not in text
    assert content['task'] == 'semantic-segmentation' and 'mIoU' in content['metrics']
    assert len(content['classes']) == len(content['palette']) == 3
    assert not list(saved['detector'].parent.glob('.*'))


def test_the_card_has_front_matter_that_the_hub_reads(saved):
    card = ModelCard((saved['segmentor'] / 'README.md').read_text())
    assert card.data.library_name == 'mmvision_mamba' and card.data.pipeline_tag == 'image-segmentation'
    assert card.data.datasets == ['masks'] and {'mmseg', 'semantic-segmentation'} <= set(card.data.tags)
    assert card.data.license is None  # trained from random weights
    assert {result.metric_name for result in card.data.eval_results} >= {'mIoU'}
    assert '| mIoU |' in card.text and 'example.jpg' in card.text and 'Model.load' in card.text


def test_the_licence_is_that_of_the_pretrained_weights_and_stays(saved, trained, tmp_path, monkeypatch):
    model = trained['segmentor']
    monkeypatch.setattr(model, '_began', 'https://huggingface.co/nvidia/MambaVision-T-1K/resolve/main/m.pth.tar')
    folder = model.save(tmp_path / 'derived', picture=False)
    card = ModelCard((folder / 'README.md').read_text())
    assert card.data.license == 'cc-by-nc-sa-4.0' and 'neither allows commercial use' in card.text
    assert 'nvclv1' in card.text and not (folder / 'example.jpg').exists()
    again = Model.load(folder, work_dir=tmp_path / 'work').save(tmp_path / 'again', picture=False)
    assert ModelCard((again / 'README.md').read_text()).data.license == 'cc-by-nc-sa-4.0'
    chosen = model.save(tmp_path / 'chosen', licence='Apache-2.0', picture=False)
    assert ModelCard((chosen / 'README.md').read_text()).data.license == 'apache-2.0'
    with pytest.raises(ConfigError, match=r"^licence is 'do what you like'"):
        model.save(tmp_path / 'bad', licence='do what you like')


def test_a_loaded_model_is_trained_and_tested_on_data(saved, own_data, tmp_path, monkeypatch):
    for word in ('UPerHead', 'mIoU', 'AdamW', 'PackSegInputs', 'pseudo_collate', 'IterBasedTrainLoop'):
        (tmp_path / f'{word}.py').write_text('raise SystemExit("imported, for a type of this name")')
    monkeypatch.syspath_prepend(tmp_path)
    model = Model.load(saved['segmentor'], data=own_data / 'masks', work_dir=tmp_path / 'work')
    assert 'mIoU' in model.test()
    model.train(batch=4, **{'train_cfg.max_iters': 1, 'train_cfg.val_interval': 9})
    assert Config.fromfile(tmp_path / 'work/segmentor.py').load_from == str(saved['segmentor'] / 'model.safetensors')
    with pytest.raises(DataError):
        Model.load(saved['segmentor'], work_dir=tmp_path / 'other').test()


def test_nothing_half_written_stays_and_others_folders_are_left_alone(trained, saved, tmp_path, monkeypatch):
    model = trained['segmentor']
    mine = shutil.copytree(saved['segmentor'], tmp_path / 'mine')
    before = (mine / 'README.md').read_bytes()

    def fail(*args):
        raise OSError(28, 'No space left on device')
    with monkeypatch.context() as patched:
        patched.setattr(folder_module.card, 'text', fail)
        with pytest.raises(DataError, match='can not be written: No space left'):
            model.save(mine, picture=False)
        with pytest.raises(DataError, match='can not be written'):
            model.save(tmp_path / 'new', picture=False)
    assert [path.name for path in tmp_path.iterdir()] == ['mine'] and (mine / 'README.md').read_bytes() == before
    model.save(mine, picture=False)  # in the place of the earlier one
    assert not (mine / 'example.jpg').exists() and [path.name for path in tmp_path.iterdir()] == ['mine']
    (tmp_path / 'mine/epoch_7.pth').touch()
    with pytest.raises(ConfigError, match=r'holds a saved model, and epoch_7\.pth besides, which would be lost'):
        model.save(mine, picture=False)
    (tmp_path / 'mine/config.json').write_text('{}')
    with pytest.raises(ConfigError, match='is there already, and no folder of a saved model'):
        model.save(mine)


def test_what_is_no_data_is_refused_by_its_key(trained, tmp_path):
    model = trained['segmentor']
    inferencer = model.inferencer()
    cfg = inferencer.cfg
    try:
        inferencer.cfg = Config(cfg.to_dict())
        inferencer.cfg.model.decode_head.act_cfg = dict(type=nn.GELU)
        with pytest.raises(ConfigError, match=r'^model\.decode_head\.act_cfg\.type is the class GELU'):
            model.save(tmp_path / 'x')
        inferencer.cfg.model.decode_head.act_cfg = dict(type='MyActivation')
        with pytest.raises(ConfigError, match=r"model\.decode_head\.act_cfg\.type is 'MyActivation': no class"):
            model.save(tmp_path / 'x')
    finally:
        inferencer.cfg = cfg
    assert not (tmp_path / 'x').exists()


def hostile(saved, tmp_path, change) -> Path:
    copy = shutil.copytree(saved['segmentor'], tmp_path / 'hostile')
    path = copy / 'config.json'
    if isinstance(change, str):
        path.write_text(change)
    else:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
    return copy


def preprocessor(content, **settings):
    content['config']['model']['data_preprocessor'].update(settings)


@pytest.mark.parametrize(('change', 'message'), [
    ('', 'no JSON'), ('[]', 'expected an object, got list'), ('{"a":' * 10**5, 'no JSON|nested too deeply'),
    ('{"library_name": ' + '9' * 5000 + '}', 'no JSON'), (' ' * 2**23, 'can not be read'),
    ('{"model_type": "mambavision", "depths": [1, 3, 8, 4]}', 'it is of mambavision, not of a model that Model.save'),
    (lambda c: c.update(format=99), 'its format is 99'),
    (lambda c: c.update(classes='abc'), 'classes: expected a list of names'),
    (lambda c: c['classes'].__setitem__(0, '{{$A:x}}'), r"classes: '\{\{\$A:x}}' is refused"),
    (lambda c: c['classes'].append('one more'), 'palette: expected'),
    (lambda c: (c['classes'].append('one more'), c['palette'].append([0, 0, 0])), '3 classes, and config.json names 4'),
    (lambda c: (c['classes'].pop(), c['palette'].pop()), '3 classes, and config.json names 2'),
    (lambda c: c.update(palette=[[0, 0, 999]] * 3), 'palette: expected'),
    (lambda c: c.update(metrics=dict(a='b')), 'metrics: expected numbers'),
    (lambda c: c.update(name='../../x'), r"name is '\.\./\.\./x'"),
    (lambda c: c.update(licence=dict(name=[1])), 'licence: expected'),
    (lambda c: c.update(config=3), 'config: expected an object'),
    (lambda c: c['config'].update(custom_imports=dict(imports=['antigravity'])), "the key 'custom_imports'"),
    (lambda c: c['config']['model']['decode_head'].update(type='os.system'), r"decode_head\.type is 'os\.system'"),
    (lambda c: c['config']['model']['decode_head'].update(channels=2**23), 'of a far larger model'),
    (lambda c: c['config']['model'].update(auxiliary_head=dict(type='FCNHead', in_channels=8, channels=1, num_classes=3,
                                                               num_convs=10**6)), 'of a far larger model'),
    (lambda c: c['config']['model'].update(backbone=dict(
        type='mmdet.SwinTransformer', embed_dims=8, depths=[1] * 4, num_heads=[1] * 4, window_size=300)),
     'of a far larger model'),
    (lambda c: c['config']['test_dataloader']['dataset']['pipeline'].append(dict(
        type='TestTimeAug', transforms=[[dict(type='RandomFlip', prob=1.)] * 10] * 7)), 'TestTimeAug makes 10000000'),
    (lambda c: c['config']['model']['decode_head'].update(channels=10**30), r'decode_head\.channels is '),
    (lambda c: c['config']['test_dataloader']['dataset']['pipeline'][0].update(backend_args=dict(backend='http')),
     r"backend_args is '\{'backend': 'http'}': a shared config reads files of this machine alone"),
    (lambda c: c['config'].pop('model'), r'model'),
    (lambda c: c['config'].pop('test_dataloader'), r'test_dataloader'),
    (lambda c: c['config']['model']['decode_head'].update(num_classes='many'), r'num_classes|as the config has it'),
    (lambda c: c['config']['model'].update(colour=1), r"has no argument 'colour'"),
    (lambda c: preprocessor(c, std=[0, 1, 1]), r'std is \[0, 1, 1\]: expected numbers, above 0'),
    (lambda c: preprocessor(c, std=None), 'data_preprocessor has mean alone'),
    (lambda c: preprocessor(c, size_divisor=0), 'size_divisor is 0: expected a whole number from 1'),
    (lambda c: preprocessor(c, size=[10**6, 10**6]), 'size is .* at most 178956970 pixels'),
    (lambda c: c['config']['test_dataloader']['dataset']['pipeline'].append(dict(type='Pad', size=[10**5, 10**5])),
     r"pipeline\.\d\.size is '\[100000, 100000\]': images are made of at most 178956970 pixels"),
    (lambda c: c['config']['model'].update(neck=dict(num_outs=10**7)), r'neck\.num_outs is 10000000: expected')])
def test_hostile_configs_are_refused_in_a_line_or_two(saved, tmp_path, change, message):
    copy = hostile(saved, tmp_path, change)
    with pytest.raises(UserError, match=message) as raised:
        Model.load(copy, work_dir=tmp_path / 'work')
    assert len(str(raised.value).splitlines()) <= 3 and len(str(raised.value)) < 1500


def changed(change):
    def write(path):
        state = load_file(path)
        change(state)
        save_file(state, path)
    return write


KEY = 'decode_head.conv_seg.weight'


@pytest.mark.parametrize(('write', 'message'), [
    (lambda path: path.write_bytes(b''), 'model.safetensors'),
    (lambda path: path.write_bytes(file_of(b'{' * 100)), 'model.safetensors'),
    (lambda path: path.write_bytes(file_of({}, length=2**62)), 'model.safetensors'),
    (lambda path: path.write_bytes(file_of(b' ' * 2**23)), 'model.safetensors'),
    (lambda path: path.write_bytes(file_of(dict(a=entry(), b=entry()), b'1234')), 'model.safetensors'),
    (lambda path: path.write_bytes(file_of(dict(a=entry(-4, 0)), b'1234')), 'model.safetensors'),
    (lambda path: path.write_bytes(file_of(dict(a=entry(dtype='PICKLE')), b'1234')), 'model.safetensors'),
    (changed(lambda state: state.pop(KEY)), rf'does not fit the model[\s\S]*{KEY}'),
    (changed(lambda state: state.update({KEY: torch.ones(3)})), rf'does not fit the model[\s\S]*{KEY}'),
    (changed(lambda state: state.update({KEY: state[KEY].to(torch.complex64)})), 'model.safetensors'),
    (changed(lambda state: state.update({KEY: state[KEY].to(torch.int64)})), 'model.safetensors')],
    ids=range(11))
def test_hostile_weights_are_refused_in_a_line_or_two(saved, tmp_path, write, message):
    copy = shutil.copytree(saved['segmentor'], tmp_path / 'hostile')
    write(copy / 'model.safetensors')
    with pytest.raises(CheckpointError, match=message) as raised:
        Model.load(copy, work_dir=tmp_path / 'work')
    assert len(str(raised.value).splitlines()) <= 4 and len(str(raised.value)) < 1500


def test_no_module_that_lies_about_is_imported(saved, tmp_path, monkeypatch):
    """mmengine imports a module for a type that a registry lacks: FPN is a neck, and no transform."""
    copy = hostile(saved, tmp_path, lambda c: c['config']['test_dataloader']['dataset']['pipeline'].append(
        dict(type='FPN')))
    for folder in (copy, tmp_path):
        (folder / 'FPN.py').write_text('raise SystemExit("imported")')
        monkeypatch.syspath_prepend(folder)
    with pytest.raises(ConfigError, match=r"pipeline\.\d+\.type is 'FPN': no class of that name is registered"):
        Model.load(copy, work_dir=tmp_path / 'work')


@pytest.mark.parametrize(('name', 'settings', 'message'), [
    ('detector', 'std=[0, 0, 0]', 'std is [0, 0, 0]: expected numbers, above 0'),
    ('detector', 'pad_size_divisor=0', 'pad_size_divisor is 0: expected a whole number'),
    ('segmentor', "mean=[1, 1, float('nan')]", 'mean is [1, 1, nan]: expected numbers')])
@pytest.mark.parametrize('command', ['infer', 'test'])
def test_commands_refuse_what_would_find_nothing(trained, tmp_path, capsys, command, name, settings, message):
    Image.fromarray(PHOTO).save(tmp_path / 'photo.png')
    model, config = trained[name], tmp_path / 'config.py'
    config.write_text(f"_base_ = '{model.work_dir / f'{name}.py'}'\nmodel = dict(data_preprocessor=dict({settings}))\n")
    with pytest.raises(SystemExit) as stopped:
        main(command, [config, model.weights, *[tmp_path / 'photo.png'] * (command == 'infer')])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and message in error and 'Traceback' not in error


def test_a_folder_without_its_files_is_named(saved, tmp_path):
    with pytest.raises(ConfigError, match=r'no folder of a saved model: it has no config\.json'):
        Model.load(tmp_path)
    copy = shutil.copytree(saved['segmentor'], tmp_path / 'copy')
    (copy / 'model.safetensors').unlink()
    with pytest.raises(CheckpointError, match=r'has no model\.safetensors'):
        Model.load(copy)
    shutil.copy(saved['detector'] / 'model.safetensors', copy)
    with pytest.raises(CheckpointError, match=r'does not fit the model'):
        Model.load(copy, work_dir=tmp_path / 'work')


def test_a_pushed_model_is_loaded_from_the_hub_with_equal_predictions(trained, server, tmp_path, monkeypatch):
    model = trained['segmentor']
    where = model.push('someone/shapes', private=True, picture=False)
    assert where == f'{server.url}/someone/shapes' and server.private == {'someone/shapes'}
    assert set(server.files('someone/shapes')) == {'config.json', 'model.safetensors', 'README.md'}
    loaded = Model.load('hf://someone/shapes', work_dir=tmp_path / 'work')
    assert same(model.predict(PHOTO)[0], loaded.predict(PHOTO)[0])
    downloaded = server.downloads()
    use(None, monkeypatch, tmp_path / 'home', offline=True)
    again = Model.load('hf://someone/shapes', work_dir=tmp_path / 'again')
    assert same(model.predict(PHOTO)[0], again.predict(PHOTO)[0]) and server.downloads() == downloaded


def test_a_repository_of_another_kind_is_named(server, tmp_path):
    server.add('nvidia/tiny', {'config.json': b'{"model_type": "mambavision"}', 'model.safetensors': b'x'})
    with pytest.raises(ConfigError, match=r'^hf://nvidia/tiny: .*config\.json.: it is of mambavision, not of a model'):
        Model.load('hf://nvidia/tiny', work_dir=tmp_path / 'work')


def test_nothing_is_overwritten_without_yes(trained, server):
    server.add('someone/taken', {'model.safetensors': b'x', '.gitattributes': b''})
    with pytest.raises(ConfigError, match=r'/someone/taken holds files already: model\.safetensors.\n.*--yes'):
        trained['segmentor'].push('someone/taken', picture=False)
    assert server.files('someone/taken')['model.safetensors'].read_bytes() == b'x'
    trained['segmentor'].push('someone/taken', yes=True, picture=False)
    assert server.files('someone/taken')['model.safetensors'].stat().st_size > 1000
    server.add('someone/new', {'.gitattributes': b''})  # as the Hub makes them
    trained['segmentor'].push('someone/new', picture=False)


def test_pushing_needs_a_token_a_name_and_a_hub_that_takes_it(trained, server, monkeypatch, tmp_path):
    model = trained['segmentor']
    with pytest.raises(ConfigError, match=r"^'shapes': expected a repository, OWNER/NAME"):
        model.push('shapes')
    server.fails = 403
    with pytest.raises(CheckpointError, match=r'answers 403: is the token that is set still valid\?') as raised:
        model.push('someone/shapes', picture=False)
    assert 'hf_secret' not in str(raised.value)
    use(None, monkeypatch, tmp_path / 'home')
    with pytest.raises(CheckpointError, match=r'^hf://someone/shapes: ') as raised:
        model.push('someone/shapes', picture=False)
    assert 'hf_secret' not in str(raised.value)
    monkeypatch.delenv('HF_TOKEN')
    with pytest.raises(ConfigError, match=r'^someone/shapes: pushing needs a token'):
        model.push('someone/shapes')


def test_the_command_pushes_a_run_and_a_saved_folder(trained, saved, server, capsys, tmp_path):
    assert main('publish', [trained['segmentor'].weights, '--hub', 'someone/run', '--licence', 'mit']) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f'{server.url}/someone/run'
    assert main('publish', [saved['detector'], '--hub', 'someone/folder', '--private']) == 0
    assert set(server.files('someone/folder')) == {*folder_module.FILES} and server.private == {'someone/folder'}
    pushed = shutil.copytree(saved['segmentor'], tmp_path / 'pushed')
    server.alter = lambda command, path, *answer: (  # while it is pushed
        '/preupload/' in path and (pushed / 'config.json').write_text('{}'), answer)[1]
    assert main('publish', [pushed, '--hub', 'someone/changed']) == 0
    server.alter = None
    served = server.files('someone/changed')['config.json'].read_bytes()
    assert (pushed / 'config.json').read_text() == '{}' and served == (saved['segmentor'] / 'config.json').read_bytes()
    card = ModelCard(server.files('someone/run')['README.md'].read_text())
    assert card.data.license == 'mit'
    for arguments in ([trained['segmentor'].weights, '--yes'], [trained['segmentor'].weights, 'x.pth', '--hub', 'a/b'],
                      [tmp_path, '--hub', 'a/b'], [saved['detector'], '--hub', 'a/b', '--licence', 'mit']):
        with pytest.raises(SystemExit) as stopped:
            main('publish', arguments)
        assert stopped.value.code == 2 and 'error: ' in capsys.readouterr().err


def test_a_folder_with_links_to_other_files_is_not_pushed(saved, server, capsys, tmp_path):
    (tmp_path / 'key').write_text('secret')
    for name, target in (('README.md', tmp_path / 'key'), ('example.jpg', Path('/dev/zero')), ('example.jpg', None)):
        folder = shutil.copytree(saved['detector'], tmp_path / 'given', dirs_exist_ok=True)
        (folder / name).unlink()
        if target is None:
            (folder / name).write_text('secret')
        else:
            (folder / name).symlink_to(target)
        with pytest.raises(SystemExit) as stopped:
            main('publish', [folder, '--hub', 'someone/folder'])
        message = capsys.readouterr().err
        assert stopped.value.code == 2 and name in message and ('is a link' in message) == (target is not None)
        shutil.rmtree(folder)
    assert server.files('someone/folder') == {}


def test_a_save_that_was_killed_between_its_renames_loses_nothing(trained, saved, tmp_path):
    target = shutil.copytree(saved['segmentor'], tmp_path / 'model.of.one')
    other = shutil.copytree(saved['segmentor'], tmp_path / 'model')
    with made_beside(target) as new:
        name = new.parent.name
    left = tmp_path / name
    left.mkdir()
    target.rename(left / 'old')
    (left / 'new').mkdir()
    assert Model.load(target, work_dir=tmp_path / 'work').name
    assert {*tmp_path.iterdir()} == {target, other, tmp_path / 'work'}
    shutil.copytree(target, left / 'new')  # killed while it wrote
    trained['segmentor'].save(target, picture=False)
    assert {*tmp_path.iterdir()} == {target, other, tmp_path / 'work'}
    assert len({path.stat().st_mode for path in target.iterdir()}) == 1


def test_two_versions_of_a_model_are_loaded_side_by_side(saved, tmp_path):
    def other_way_round(content):
        content['classes'].reverse()
    first = Model.load(saved['segmentor'], work_dir=tmp_path / 'work')
    classes = first.inferencer().classes
    last = Model.load(hostile(saved, tmp_path, other_way_round), work_dir=tmp_path / 'work')
    assert first.name == last.name and first.cfg.test_dataloader.dataset.metainfo.classes == tuple(classes)
    assert list(first.inferencer(device='cpu').classes) == list(classes) == [*last.inferencer().classes][::-1]
