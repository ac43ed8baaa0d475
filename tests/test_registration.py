"""Parts register themselves with each library in whatever order things are imported: each in a process of its own."""
import ast
import contextlib
import importlib.resources
import importlib.util
import json
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

from .helpers import ROOT
from .helpers.fake_site import distribution, python
from .helpers.new_process import call

HEAVY = {'torch', 'torchvision', 'numpy', 'cv2', 'PIL', 'timm', 'mmengine', 'mmcv', 'mmdet', 'mmseg'}
LIBRARIES = ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'timm')
MOST_MODULES = 60  # 32 are needed, all but five of them Python's own; NumPy alone brings 100

TIMM = {'mambavision_tiny'}
MMENGINE = TIMM | {'MambaVision', 'MM_mamba_vision', 'DivergenceHook', 'PackImage', 'ImageClassifier'}
PANOPTIC = {'CocoPanopticMetric', 'CocoPanopticDataset', 'LoadPanopticAnnotations'}
MMDET = MMENGINE | {'InstanceSegTTAModel'} | PANOPTIC
ORDERS = {  # imports, in this order: what is registered then
    'import mmvision_mamba, timm': TIMM,
    'import timm, mmvision_mamba': TIMM,
    'import mmvision_mamba, mmengine': MMENGINE,
    'import mmengine, mmvision_mamba': MMENGINE,
    'import mmvision_mamba; from mmengine.registry import MODELS': MMENGINE,
    'import mmvision_mamba, mmcv': MMENGINE,
    'import mmcv, mmvision_mamba': MMENGINE,
    'import mmvision_mamba, mmdet.apis': MMDET,
    'import mmdet.apis, mmvision_mamba': MMDET,
    'import mmvision_mamba, mmseg.apis': MMDET,  # which mmseg imports
    'import mmseg.apis, mmvision_mamba': MMDET,
    'import mmvision_mamba; mmvision_mamba.register()': MMDET,
    'import mmdet.apis, mmvision_mamba; mmvision_mamba.register(); mmvision_mamba.register()': MMDET,
    'from mmvision_mamba import MambaVision': TIMM,
    'from mmvision_mamba import MambaVision; import mmengine': MMENGINE,
    'from mmvision_mamba import Inferencer': MMENGINE,
    'from mmengine.config import Config; Config.fromfile("custom_imports.py")': MMENGINE,
    'import mmdet.apis; from mmengine.config import Config; Config.fromfile("custom_imports.py")': MMDET,
    # Whether a library is installed is asked before it is imported.
    'from importlib.util import find_spec; import mmvision_mamba; [find_spec(name) for name in LIBRARIES];'
    'import mmengine, mmdet.apis': MMDET,
    # Parts of the package are somebody's first import; more of them below.
    'import mmvision_mamba.backbones.timm_models': TIMM,
    'import mmvision_mamba.engine.runner': MMENGINE,
    'import mmvision_mamba.datasets.image_mask': MMENGINE,
    'import mmvision_mamba.classification.model': MMENGINE,
    'import mmvision_mamba.inference.inferencer': MMENGINE,
    'import mmvision_mamba.evaluation.tta': MMDET,
    'import mmvision_mamba.preflight.splitting': MMENGINE,
}


def registered() -> set[str]:
    """The names that the libraries imported so far know."""
    found = set()
    if sys.modules.get('timm'):
        import timm
        found |= {name for name in TIMM if timm.is_model(name)}
    if sys.modules.get('mmengine'):
        from mmengine.registry import HOOKS, MODELS, TRANSFORMS
        found |= {name for registry, name in (
            (MODELS, 'MambaVision'), (MODELS, 'MM_mamba_vision'), (HOOKS, 'DivergenceHook'), (TRANSFORMS, 'PackImage'),
            (MODELS, 'ImageClassifier')) if registry.get(name)}
    if sys.modules.get('mmdet'):
        from mmdet.registry import DATASETS, METRICS, MODELS, TRANSFORMS
        with contextlib.suppress(RuntimeError):  # a broken mmcv that a test made; get() imports mmdet's models
            found |= {name for name in ('InstanceSegTTAModel',) if MODELS.get(name)}
            found |= {name for name in PANOPTIC for registry in (DATASETS, METRICS, TRANSFORMS)  # in mmdet's own place
                      if getattr(registry.get(name), '__module__', '').startswith('mmvision_mamba')}
    return found


def registered_after(imports: str) -> tuple[set[str], set[str]]:
    """What is registered after these imports, and once everything else is imported too."""
    assert not {'mmvision_mamba', *LIBRARIES} & set(sys.modules)
    exec(imports, dict(LIBRARIES=LIBRARIES))
    first = registered()

    import mmdet.registry
    import timm
    from mmengine.registry import MODELS

    import mmvision_mamba
    registries = [MODELS, mmdet.registry.MODELS]
    if 'mmseg' in sys.modules:
        registries.append(sys.modules['mmseg.registry'].MODELS)
    for registry in registries:
        assert registry.get('MambaVision') is mmvision_mamba.MambaVision
    small = dict(dim=8, in_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 4))
    assert type(MODELS.build(dict(type='MambaVision', arch=small))) is mmvision_mamba.MambaVision
    assert timm.create_model('mambavision_tiny', arch=small, num_classes=3).num_classes == 3
    check_the_libraries()
    return first, registered()


def check_the_libraries():
    """They are what they would be had nobody waited for their import."""
    from mmvision_mamba.installation import distributions
    for name in {*LIBRARIES} & {*sys.modules}:
        module, spec = sys.modules[name], importlib.util.find_spec(name)
        assert module.__spec__ is spec and module.__loader__ is spec.loader
        assert type(spec.loader).__module__.startswith(('importlib', '_frozen_importlib')), spec.loader
        assert spec.loader.get_source(name) and spec.loader.is_package(name)
        assert (importlib.resources.files(name) / '__init__.py').is_file()
        assert distributions(name)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder that the processes run in, with a config that has the package imported."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'custom_imports.py').write_text(
        "custom_imports = dict(imports=['mmvision_mamba'], allow_failed_imports=False)\n")
    return tmp_path


def test_a_type_of_one_word_is_registered_or_nothing(tmp_path, monkeypatch):
    """mmengine would import a module of that name from wherever Python looks for modules."""
    import torch
    from mmengine.registry import MODELS, TRANSFORMS

    import mmvision_mamba  # noqa: F401
    (tmp_path / 'lying_about.py').write_text('raise SystemExit("imported")')
    monkeypatch.syspath_prepend(tmp_path)
    assert MODELS.get('lying_about') is None and TRANSFORMS.get('lying_about') is None
    assert MODELS.get('torch.nn.GELU') is torch.nn.GELU


def test_the_import_is_light():
    code = ('import json, sys\nbefore = set(sys.modules)\nimport mmvision_mamba\n'
            'print(json.dumps(sorted(set(sys.modules) - before)))')
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = set(json.loads(done.stdout))
    assert not HEAVY & modules
    assert len(modules) < MOST_MODULES, sorted(modules)


@pytest.mark.parametrize('imports', ORDERS)
def test_order(imports, here):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')
    first, in_the_end = call(registered_after, imports)
    assert first == ORDERS[imports]
    assert in_the_end == MMDET


# Any module can be the first -----------------------------------------------------------------------------------------

def modules_that_registration_imports() -> list[str]:
    """Those that import one of the libraries themselves: while they do, registration may ask for them."""
    import mmvision_mamba
    mmvision_mamba.register()
    names = [name for name in sys.modules if name.startswith('mmvision_mamba.')]
    return [name for name in names if imports_a_library(sys.modules[name].__file__)]


def imports_a_library(file: str) -> bool:
    found = [node for node in ast.parse(Path(file).read_text()).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = [name.name for node in found if isinstance(node, ast.Import) for name in node.names] + [
        node.module for node in found if isinstance(node, ast.ImportFrom) and not node.level]
    return any(name.partition('.')[0] in LIBRARIES for name in names)


def import_it(module: str) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings('error', 'mmvision_mamba goes on without its parts')
        importlib.import_module(module)


def what_fails(modules: list[str]) -> dict[str, str]:
    """module -> the error with which its import as a process's first ends."""
    found = {}
    for module in modules:
        try:
            call(import_it, module)
        except AssertionError as error:
            found[module] = str(error).strip().splitlines()[-1]
    return found


@pytest.mark.timeout(900)
def test_a_module_that_registration_imports_can_be_the_first():
    pytest.importorskip('mmdet')
    modules = call(modules_that_registration_imports)
    assert {'mmvision_mamba.engine.runner', 'mmvision_mamba.datasets.loading'} < set(modules)
    assert not what_fails(modules)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_module_can_be_the_first():
    files = [file.relative_to(ROOT).with_suffix('') for file in sorted((ROOT / 'mmvision_mamba').rglob('*.py'))]
    modules = ['.'.join(file.parts).removesuffix('.__init__') for file in files if file.name != '__main__']
    assert len(modules) > 100
    # The command for clusters and the page want packages that are extras; they say so.
    failed = {name: error for name, error in what_fails(modules).items() if 'MissingExtraError' not in error}
    assert not failed


# What a user of mmdet does ------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def detector_files(tmp_path_factory):
    """Configs of a small detector without and with custom_imports, and a picture."""
    pytest.importorskip('mmdet')
    from PIL import Image

    from .helpers.detectors import cascade
    folder = tmp_path_factory.mktemp('stock')
    cfg = cascade()
    cfg.test_dataloader = dict(dataset=dict(type='CocoDataset', pipeline=[
        dict(type='LoadImageFromFile'), dict(type='Resize', scale=(128, 96), keep_ratio=True),
        dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]))
    cfg.dump(folder / 'without.py')
    cfg.custom_imports = dict(imports=['mmvision_mamba'], allow_failed_imports=False)
    cfg.dump(folder / 'with.py')
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / 'picture.png')
    return folder


def detected(imports: str, config: str, picture: str) -> tuple[str, int]:
    """The backbone's module, and how many objects mmdet finds in the picture."""
    exec(imports)
    from mmdet.apis import inference_detector, init_detector
    model = init_detector(config, None, device='cpu')
    found = inference_detector(model, picture).pred_instances
    assert found.masks.shape == (len(found), 60, 80)
    return type(model.backbone).__module__, len(found)


@pytest.mark.parametrize(('imports', 'config'), [
    ('import mmvision_mamba, mmdet.apis', 'without'), ('import mmvision_mamba, mmdet.apis', 'with'),
    ('import mmdet.apis, mmvision_mamba', 'without'), ('import mmdet.apis, mmvision_mamba', 'with'),
    ('import mmdet.apis', 'with')])
def test_stock_init_detector(imports, config, detector_files):
    module, count = call(detected, imports, str(detector_files / f'{config}.py'), str(detector_files / 'picture.png'))
    assert module == 'mmvision_mamba.backbones.mambavision' and count > 0


# Where something is missing or broken ------------------------------------------------------------------------------

def registered_without(missing: list[str], imports: str) -> set[str]:
    import mmvision_mamba  # noqa: F401
    sys.modules.update(dict.fromkeys(missing))  # to Python they are not installed then
    exec(imports)
    return registered()


@pytest.mark.parametrize(('missing', 'imports', 'expected'), [
    (['mmdet', 'mmseg'], 'mmvision_mamba.register()', MMENGINE),
    (['mmcv', 'mmdet', 'mmseg'], 'mmvision_mamba.register()', TIMM | {'MambaVision', 'MM_mamba_vision'}),
    (['mmcv', 'mmdet', 'mmseg'], 'import mmengine', TIMM | {'MambaVision', 'MM_mamba_vision'}),
    (['mmengine', 'mmcv', 'mmdet', 'mmseg'], 'mmvision_mamba.register()', TIMM)])
def test_what_is_not_installed_is_left_out(missing, imports, expected):
    assert call(registered_without, missing, f'import mmvision_mamba; {imports}') == expected


def import_broken_then_whole(folder: str) -> set[str]:
    import mmvision_mamba  # noqa: F401
    sys.path.insert(0, folder)
    with pytest.raises(ImportError, match='half installed'):
        import timm
    assert 'timm' not in sys.modules
    sys.path.remove(folder)
    sys.path_importer_cache.clear()
    import timm  # noqa: F401
    return registered()


def test_a_library_whose_import_fails_can_be_imported_again(tmp_path):
    (tmp_path / 'timm').mkdir()
    (tmp_path / 'timm/__init__.py').write_text("raise ImportError('half installed')\n")
    assert call(import_broken_then_whole, str(tmp_path)) == TIMM


def warned_of(folder: str, imports: str) -> tuple[set[str], list[str]]:
    """What is registered, and the warnings of this package, where `folder` holds packages that hide the real ones."""
    sys.path.insert(0, folder)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        exec(imports)
    return registered(), [str(one.message) for one in caught if 'mmvision_mamba goes on' in str(one.message)]


@pytest.mark.parametrize(('broken', 'imports'), [
    ('mmcv', 'import mmvision_mamba, mmengine'), ('mmcv', 'import mmengine, mmvision_mamba'),
    ('mmcv', 'import mmvision_mamba; mmvision_mamba.register()')])
def test_a_broken_library_costs_a_warning_and_its_own_parts(broken, imports, tmp_path):
    pytest.importorskip('mmcv')
    (tmp_path / broken).mkdir()
    (tmp_path / broken / '__init__.py').write_text("raise RuntimeError('missing symbol')\n")
    found, told = call(warned_of, str(tmp_path), imports)
    assert {'MambaVision', 'MM_mamba_vision'} <= found and 'ImageClassifier' not in found
    assert told and all('missing symbol' in text for text in told)


def test_parts_that_can_not_be_registered_leave_the_library_usable(tmp_path):
    pytest.importorskip('mmcv')
    (tmp_path / 'mmdet/models/test_time_augs').mkdir(parents=True)  # without the class that parts derive from
    for folder in ('mmdet', 'mmdet/models', 'mmdet/models/test_time_augs'):
        (tmp_path / folder / '__init__.py').write_text('')
    _, told = call(warned_of, str(tmp_path), 'import mmvision_mamba, mmdet.models.test_time_augs\n'
                                             'assert mmdet.models.test_time_augs; del sys.modules["mmdet"]')
    assert len(told) == 1 and told[0].startswith('mmvision_mamba goes on without its parts for mmdet: ImportError: ')


@pytest.mark.parametrize(('version', 'expected'), [('4.57.1', 'True'), ('5.2.0', 'False')])
def test_mmpretrain_beside_transformers_5_is_used_without_its_multimodal_models(version, expected, tmp_path):
    distribution(tmp_path, 'transformers', version)
    (tmp_path / 'mmpretrain/utils').mkdir(parents=True)
    (tmp_path / 'mmpretrain/__init__.py').write_text('')
    (tmp_path / 'mmpretrain/utils/__init__.py').write_text('')
    (tmp_path / 'mmpretrain/utils/dependency.py').write_text('WITH_MULTIMODAL = True\n')
    assert python(tmp_path, '''
        import mmvision_mamba
        from mmpretrain.utils import dependency
        print(dependency.WITH_MULTIMODAL)
    ''') == expected


# Once more, and before --------------------------------------------------------------------------------------------

AGAIN = {  # what is done to a process with both: it ends as it began
    'reload first': 'import mmvision_mamba; reload(mmvision_mamba); import mmengine',
    'reload last': 'import mmengine, mmvision_mamba; reload(mmvision_mamba)',
    'reload mmengine': 'import mmvision_mamba, mmengine; reload(mmengine)',
    'a second copy': 'import mmvision_mamba\nfor n in [n for n in sys.modules if n.startswith("mmvision_mamba")]: '
                     'del sys.modules[n]\nimport mmvision_mamba, mmengine',
    'another finder': 'sys.meta_path.insert(0, OLD); import mmvision_mamba, mmengine',
    'a copied loader': 'import mmvision_mamba, copy; copy.copy(importlib.util.find_spec("mmengine").loader); '
                       'import mmengine',
}


def registered_again(code: str) -> tuple[set[str], int]:
    old = type('Old', (), dict(find_module=lambda *_: None))()  # in the way of Python before 3.4
    exec(code, dict(sys=sys, importlib=importlib, reload=importlib.reload, OLD=old))
    return registered(), sum('mmvision_mamba' in type(finder).__module__ for finder in sys.meta_path)


@pytest.mark.parametrize('case', AGAIN)
def test_imported_again(case, here):
    pytest.importorskip('mmcv')
    found, finders = call(registered_again, AGAIN[case])
    assert found - TIMM == MMENGINE - TIMM and finders == 4


def registered_where_hidden(library: str, imports: str) -> set[str]:
    sys.modules[library] = None
    import mmvision_mamba  # noqa: F401
    exec(imports)
    return registered()


def test_a_library_hidden_before():
    pytest.importorskip('mmcv')
    assert call(registered_where_hidden, 'mmdet', 'mmvision_mamba.register()') == MMENGINE
    assert call(registered_where_hidden, 'mmcv', 'import mmengine') == TIMM | {'MambaVision', 'MM_mamba_vision'}
    assert call(registered_where_hidden, 'mmengine', 'import timm') == TIMM


def version_without_operators() -> str:
    import mmvision_mamba  # noqa: F401
    sys.modules['mmcv._ext'] = None
    import mmdet
    return mmdet.__version__


def test_mmdet_where_mmcv_has_no_operators():
    pytest.importorskip('mmdet')
    assert call(version_without_operators)


def keys_of(file: str) -> list[str]:
    from mmvision_mamba.checkpoints.reading import read_checkpoint
    assert 'mmengine' not in sys.modules
    return sorted(read_checkpoint(file))


def save_run(file: str) -> None:
    import numpy as np
    import torch
    from mmengine.logging import HistoryBuffer
    torch.save(dict(state_dict=dict(a=torch.ones(2)), message_hub=dict(
        lr=np.float64(0.5), log=HistoryBuffer([1., 2.], [1, 1]))), file)


def test_a_runs_checkpoint_where_mmengine_is_not_imported_yet(tmp_path):
    pytest.importorskip('mmcv')
    call(save_run, str(tmp_path / 'iter_2.pth'))
    assert call(keys_of, str(tmp_path / 'iter_2.pth')) == ['message_hub', 'state_dict']


def test_threads_find_named_instances_after_one_could_not_be_made():
    from mmengine.utils import ManagerMixin

    import mmvision_mamba  # noqa: F401

    class Failing(ManagerMixin):
        def __init__(self, name, **options):
            raise ValueError(name)

    class Fine(ManagerMixin):
        pass

    for find, error in ((lambda: Failing.get_instance('first'), ValueError),
                        (Failing.get_current_instance, RuntimeError)):
        with pytest.raises(error):
            find()
    found = []
    thread = threading.Thread(target=lambda: found.append(Fine.get_instance('other')), daemon=True)
    thread.start()
    thread.join(20)
    assert [one.instance_name for one in found] == ['other']
