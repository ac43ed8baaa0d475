"""The core without the OpenMMLab stack, and what asking for more says."""
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'

HIDE = '''
import sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition('.')[0] in MISSING else self.finder.find_spec(name, path, target)

    def find_distributions(self, *context):
        found = getattr(self.finder, 'find_distributions', lambda *_: ())(*context)
        return (one for one in found if not one.metadata['Name'].removeprefix('onedl-').startswith(tuple(MISSING)))

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Hiding, sys.meta_path)
'''
STACK = {'mmengine', 'mmcv', 'mmdet', 'mmseg'}


def run_without(missing: set[str], code: str) -> str:
    """What `code` prints in a fresh interpreter in which the modules named aren't installed."""
    program = f'MISSING = {missing!r}\n{HIDE}\n{textwrap.dedent(code)}'
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize('missing', [{'mmcv', 'mmdet', 'mmseg'}, {'mmdet'}, {'mmseg'}],
                         ids=lambda missing: '+'.join(sorted(missing)))
def test_the_package_imports_with_a_part_of_the_stack(missing):
    assert 'True' in run_without(missing, '''
        import mmvision_mamba
        from mmengine.registry import MODELS
        print('MambaVision' in MODELS)
    ''').split()


def test_the_backbone_is_plain_pytorch_without_the_stack():
    assert run_without(STACK, '''
        import torch
        from mmvision_mamba import MambaVision

        model = MambaVision('tiny', window_padding='fit').eval()
        with torch.inference_mode():
            print(*(tuple(x.shape) for x in model(torch.rand(1, 3, 64, 96))))
    ''').strip() == '(1, 80, 16, 24) (1, 160, 8, 12) (1, 320, 4, 6) (1, 640, 2, 3)'


def test_classifiers_need_timm_alone():
    assert run_without(STACK, '''
        import timm, torch
        from mmvision_mamba import create_model

        arch = dict(dim=16, depths=(1, 1, 2, 1), num_heads=(1, 1, 1, 1))
        model = create_model('mambavision_tiny', num_classes=0, **arch).eval()
        print(tuple(model(torch.rand(1, 3, 64, 96)).shape), len(timm.list_models('mambavision*')))
    ''').strip() == '(1, 128) 7'


def test_the_scan_is_plain_pytorch_without_the_stack():
    assert run_without(STACK, '''
        import torch
        from mmvision_mamba.ops import selective_scan

        u, delta = torch.rand(2, 5, 4), torch.rand(2, 5, 4)
        A, B, C = -torch.rand(4, 3), torch.rand(2, 5, 3), torch.rand(2, 5, 3)
        a, b = (selective_scan(u, delta, A, B, C, backend=name) for name in ('auto', 'reference'))
        print(torch.allclose(a, b, atol=1e-5))
    ''').strip() == 'True'


def test_every_module_that_needs_the_stack_names_the_extra():
    found = run_without(STACK | {'cv2', 'matplotlib'}, '''
        import importlib, operator, pkgutil
        import mmvision_mamba
        from mmvision_mamba.errors import MissingExtraError

        for module in pkgutil.walk_packages(mmvision_mamba.__path__, 'mmvision_mamba.', onerror=lambda name: None):
            if not module.name.endswith('__main__') and '.transformers' not in module.name:  # has an extra of its own
                try:
                    importlib.import_module(module.name)
                except MissingExtraError as error:
                    print(module.name, *str(error).splitlines())
        for name in ('Inferencer', 'inference.Prediction'):
            try:
                operator.attrgetter(name)(mmvision_mamba)
            except MissingExtraError as error:
                print(name, error)
    ''').splitlines()
    assert {line.partition(' ')[0].removeprefix('mmvision_mamba.') for line in found} >= {
        'app.maps', 'benchmark.experiments', 'classification', 'commands.steps.prepare', 'datasets.image_mask',
        'datasets.shapes', 'engine', 'evaluation.digits', 'export.detector', 'inference.batch', 'preflight',
        'visualization', 'Inferencer', 'inference.Prediction'}
    assert all("the extra 'openmmlab'" in line for line in found)


def test_what_needs_transformers_names_its_extra():
    for line in run_without({'transformers'}, '''
        import mmvision_mamba
        from mmvision_mamba.errors import MissingExtraError

        for statement in ('import mmvision_mamba.transformers', 'mmvision_mamba.transformers.MambaVisionModel'):
            try:
                exec(statement)
            except MissingExtraError as error:
                print(*str(error).splitlines())
    ''').splitlines():
        assert "the extra 'transformers'" in line or "'.[transformers]'" in line


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_a_tool_without_the_stack_names_the_extra_in_one_line(tool):
    assert run_without(STACK, f'''
        import contextlib, io, runpy, sys

        sys.argv = [{str(TOOLS / tool)!r}, 'config.py', 'checkpoint.pth'][:2 + ({tool!r} == 'test.py')]
        stderr = io.StringIO()
        try:
            with contextlib.redirect_stderr(stderr):
                runpy.run_path(sys.argv[0], run_name='__main__')
        except SystemExit as stop:
            print(stop.code, stderr.getvalue().count(chr(10)), 'openmmlab' in stderr.getvalue())
    ''').split() == ['2', '1', 'True']
