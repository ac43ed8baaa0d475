"""What a config from elsewhere may say."""
import ast
import copy
import inspect
import re
import sys
from importlib import import_module

import mmengine.registry as registries
import pytest
from mmengine.registry import DefaultScope

from mmvision_mamba import Model
from mmvision_mamba.configs import config_names
from mmvision_mamba.errors import ConfigError, UserError
from mmvision_mamba.inference import Inferencer
from mmvision_mamba.preflight.read import read_config
from mmvision_mamba.sharing import allowed, folder
from mmvision_mamba.sharing.allowed import KEYS, check_allowed
from mmvision_mamba.sharing.classifier import preprocessing
from mmvision_mamba.sharing.folder import _settings
from mmvision_mamba.sharing.plain import from_data

CLASSIFIERS = [name for name in config_names() if 'in1k' in name or name == 'mambavision_t_shapes']
MODELS = [name for name in config_names() if 'in1k' not in name and not name.startswith('ablations/')
          and name != 'mambavision_t_shapes']


@pytest.mark.parametrize('name', MODELS)
def test_every_config_of_this_package_may_be_shared(name):
    try:
        cfg = read_config(name, find_data=False)
    except UserError as error:
        pytest.skip(str(error))
    if cfg.default_scope not in ('mmdet', 'mmseg'):
        pytest.skip('a classifier')
    settings = _settings(cfg, 'mine')  # which checks them
    assert set(settings) <= set(KEYS) and not settings['model']['backbone'].get('init_cfg')


@pytest.mark.parametrize('name', CLASSIFIERS)
def test_every_classifier_of_this_package_may_be_shared(name):
    cfg = read_config(name, find_data=False)
    settings = _settings(cfg, 'mine')
    found = preprocessing(cfg)
    assert settings['model']['type'] == 'ImageClassifier' and set(settings) <= set(KEYS)
    assert found['size'] == [64, 64] if 'shapes' in name else found['size'][0] in (224, 256, 512)


@pytest.mark.slow
@pytest.mark.parametrize('name', MODELS)
def test_every_config_of_this_package_is_saved_and_loaded(name, tmp_path):
    try:
        cfg = read_config(name, find_data=False)
    except UserError as error:
        pytest.skip(str(error))
    if cfg.default_scope not in allowed.SCOPES or '_l3_' in name:
        pytest.skip('a classifier, or too large')
    cfg.model.backbone.init_cfg = None
    folder.save(tmp_path / 'saved', Inferencer(cfg, device='cpu', show_progress=False), name)
    model = Model.load(tmp_path / 'saved', work_dir=tmp_path / 'work')
    assert len(model.inferencer().classes) > 0


@pytest.fixture(scope='module')
def config():
    return from_data(_settings(read_config('cascade_mask_rcnn_mambavision_t_coco', find_data=False), 'coco'))


def put(config, place, value):
    *above, last = place.split('.')
    for key in above:
        config = config[int(key) if key.isdigit() else key]
    config[last] = value


@pytest.mark.parametrize(('place', 'value', 'message'), [
    ('custom_imports', dict(imports=['os']), r"the key 'custom_imports' is not one of a shared config"),
    ('_base_', 'other.py', r"the key '_base_'"),
    ('work_dir', '/tmp/x', r"the key 'work_dir'"),
    ('load_from', 'x.pth', r"the key 'load_from'"),
    ('default_scope', 'os', r"default_scope is 'os': expected one of mmdet, mmseg"),
    ('model', 'text', r"config\.model is 'text': expected an object"),
    ('custom_hooks', [dict(type='EMAHook', policy='torch.hub.load')],
     r"policy is 'torch\.hub\.load': texts of a shared config are words, no paths"),
    ('custom_hooks', [dict(type='EMAHook', policy='Detectron2Wrapper')], 'a shared config has no such type'),
    ('model.neck.type', 'os.system', r"config\.model\.neck\.type is 'os\.system': expected the name of a registered"),
    ('model.neck.type', 'mmdet.apis.inference.os', r'expected the name of a registered type'),
    ('model.neck.type', 'mmvision_mamba.commands.train.run', r'expected the name of a registered type'),
    ('model.neck.type', 'system', r"is 'system': no class of that name"),
    ('model.neck.type', ['FPN'], r'expected the name of a registered type'),
    ('model.neck.type', 'mmdet.inference_detector', r'no class of that name'),
    ('model.neck._scope_', 'os', r"_scope_ is 'os'"),
    ('model.neck._delete_', True, r'no key of a shared config'),
    ('model.neck.imports', '../x', r'texts of a shared config are words, no paths'),
    ('model.backbone.init_cfg', dict(type='Pretrained', checkpoint='x.pth'), r'type is .Pretrained., which reads'),
    ('model.backbone.pretrained', 'torchvision://resnet50', r'reads no other file'),
    ('model.backbone.init_cfg', dict(type='Normal', checkpoint='http://x'), r'reads no other file'),
    ('model.roi_head.mask_head.loss_mask.class_weight', '/etc/passwd', r'texts of a shared config are words'),
    ('model.roi_head.mask_head.loss_mask.class_weight', 'weights.pkl', r'has no files loaded'),
    ('train_dataloader.dataset.ann_file', '/etc/passwd', r'names no files but below its data_root'),
    ('train_dataloader.dataset.ann_file', 'a/../../x.json', r'names no files'),
    ('train_dataloader.dataset.ann_file', 'http://host/x.json', r'names no files'),
    ('train_dataloader.dataset.ann_file', 'C:/x.json', r'names no files'),
    ('train_dataloader.dataset.ann_file', 'proposals.pkl', r'has no files loaded'),
    ('train_dataloader.dataset.ann_file', '{{$HOME}}', r'no text of a config'),
    ('train_dataloader.dataset.ann_file', 'x' * 10_000, r'no text of a config'),
    ('train_dataloader.dataset.data_root', '~/x', r'names no files'),
    ('train_dataloader.dataset.pipeline', [dict(type='Albu', transforms=[])], r"is 'Albu', which reads or writes"),
    ('train_dataloader.dataset.pipeline', [dict(type='RandomResize', resize_type='torch.hub.load')],
     r"resize_type is 'torch\.hub\.load': expected the name"),
    ('custom_hooks', [dict(type='EMAHook', ema_type='torch.load')], r"ema_type is 'torch\.load': expected the name"),
    ('optim_wrapper.constructor', 'os.system', r"constructor is 'os\.system': expected the name"),
    ('train_dataloader.dataset.pipeline', [dict(type='LoadImageFromFile', imdecode_backend='pickle')],
     r'files loaded'),
    ('model.roi_head.mask_head.loss_mask.class_weight', 'pkl', r'files loaded'),
    ('train_dataloader.dataset.pipeline', [dict(type='FPN')],
     r"'FPN': no class of that name is registered by .* for the train_dataloader of a config"),
    ('custom_hooks', [dict(type='LoadImageFromFile', x=dict(type='SGD'))], r"is 'SGD': no class of that name"),
    ('train_dataloader.collate_fn', dict(type='nms'), r"is 'nms': no class of that name"),
    ('train_dataloader.dataset.backend_args', dict(backend='memcached', sys_path='data'),
     'reads files of this machine alone'),
    ('default_hooks.checkpoint.file_client_args', dict(backend='http'), 'reads files of this machine alone'),
    ('model.train_cfg.backend_args', 'petrel', 'reads files of this machine alone'),
    ('train_dataloader.dataset.extra_ann_file', 'Makefile', 'reads no other file'),
    ('train_dataloader.dataset.proposal_file', 'a/b', 'texts of a shared config are words'),
    ('default_hooks.checkpoint.filename_tmpl', 'x/{}', 'texts of a shared config are words'),
    ('custom_hooks', [dict(type='EMAHook', note='http://host')], 'texts of a shared config are words'),
    ('optim_wrapper.paramwise_cfg', {"x': print(), 'y": 1}, r'no key of a shared config'),
    ('train_dataloader.collate_fn', dict(type='eval'), r"is 'eval': no class of that name"),
    ('test_evaluator.outfile_prefix', 'x', r'says not where to write'),
    ('default_hooks.checkpoint.out_dir', 'x', r'says not where to write'),
    ('optim_wrapper.optimizer.type', 'print', r"is 'print': no class of that name")])
def test_what_runs_code_or_names_files_is_refused_by_its_key(config, place, value, message):
    hostile = copy.deepcopy(config)
    put(hostile, place, value)
    with pytest.raises(ConfigError, match=message) as raised, DefaultScope.overwrite_default_scope('mmdet'):
        check_allowed(hostile)
    assert len(str(raised.value)) < 700 and len(str(raised.value).splitlines()) == 1


# Of a class's own source, what reads, writes, imports or runs something that a name says.
REACHES = re.compile(
    r'(?<![.\w])(open|eval|exec|load|dump|__import__|import_module|load_checkpoint|mkdir_or_exist)\(|torch\.(hub|load)|'
    r'(mmengine|np|pickle|CheckpointLoader|fileio)\.(load|dump|get)\w*\(|json\.(load|dump)\(|from_pretrained|subprocess|'
    r'urlopen|requests\.|os\.(system|makedirs|remove)|shutil\.|get_object_from_string|sys\.path|nltk')
# Allowed classes that do, by arguments that are refused (checkpoint, out_dir, …), or below the data's folder.
HARMLESS = {
    'BaseDetDataset', 'BaseVideoDataset', 'CheckpointHook', 'CityScapesMetric', 'CityscapesMetric',
    'CocoCaptionDataset', 'CocoMetric', 'CrowdHumanDataset', 'CrowdHumanMetric', 'DepthMetric',
    'DetVisualizationHook', 'DetectoRS_ResNet', 'GroundingVisualizationHook', 'IoUMetric', 'LoadAnnotations',
    'LoadDepthAnnotation', 'LoadImageFromFile',
    'LoggerHook', 'OVCocoMetric', 'PIDNet', 'PyramidVisionTransformer', 'ReIDDataset', 'SegVisualizationHook',
    'SemSegMetric', 'SideAdapterCLIPHead', 'SwinTransformer', 'TrackVisualizationHook', 'VisionTransformer',
    'YouTubeVISMetric'}


def classes_of(module: str) -> dict[str, str]:
    """The source of each class of a module, without documentation."""
    text = re.sub(r'""".*?"""', '""', inspect.getsource(sys.modules[module]), flags=re.DOTALL)
    return {node.name: ast.get_source_segment(text, node) for node in ast.parse(text).body
            if isinstance(node, ast.ClassDef)}


def test_a_class_that_reaches_for_files_or_code_is_refused_or_known():
    """One that a new version of a toolbox brings is seen here."""
    for scope in allowed.SCOPES:
        import_module(f'{scope}.utils').register_all_modules(init_default_scope=False)
    found = set()
    for name in {name for names in allowed._BUILT_BY.values() for name in names}:
        root = getattr(registries, name)
        for registry in (root, *root.children.values()):
            registry.import_from_location()
            found |= {cls for cls in registry.module_dict.values() if inspect.isclass(cls)
                      and cls.__module__.partition('.')[0] in ('mmcv', 'mmdet', 'mmengine', 'mmseg')}
    sources = {name: classes_of(name) for name in {cls.__module__ for cls in found}}
    reaching = {cls.__name__ for cls in found if REACHES.search(sources[cls.__module__].get(cls.__name__, ''))}
    assert 'RFSearchHook' in reaching and reaching - set(allowed._REFUSED) <= HARMLESS
