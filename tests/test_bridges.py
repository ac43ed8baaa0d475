"""mmengine in an environment whose setuptools has no pkg_resources, as since 81."""
import os

import pytest

from .helpers.new_process import call

pytest.importorskip('mmdet')
ORDERS = ['import mmvision_mamba, mmengine', 'import mmengine.hub, mmvision_mamba']


def without_pkg_resources(imports, folder):
    import sys
    sys.modules['pkg_resources'] = None
    exec(imports)
    from mmengine.config import Config
    from mmengine.utils import get_installed_path, is_installed
    path = os.path.join(folder, 'config.py')
    with open(path, 'w') as file:
        file.write("_base_ = 'mmdet::_base_/default_runtime.py'\n")
    import mmseg
    with pytest.raises(ModuleNotFoundError, match='nonesuch'):
        get_installed_path('nonesuch')
    installed = [name for name in ('torch', 'mmsegmentation', 'onedl-mmsegmentation', 'mmdet', 'nonesuch')
                 if is_installed(name)]
    import mmengine.hub.hub as hub
    assert hub.get_installed_path is get_installed_path
    return Config.fromfile(path).default_scope, installed, get_installed_path(installed[1]), os.path.dirname(
        mmseg.__file__)


@pytest.mark.parametrize('imports', ORDERS)
def test_configs_of_other_packages_are_found(imports, tmp_path):
    scope, installed, found, folder = call(without_pkg_resources, imports, str(tmp_path))
    assert scope == 'mmdet' and found == folder
    assert installed in (['torch', 'mmsegmentation', 'mmdet'], ['torch', 'onedl-mmsegmentation', 'mmdet'])


def modules_of_the_functions(has_pkg_resources):
    import sys
    from types import ModuleType
    sys.modules['pkg_resources'] = ModuleType('pkg_resources') if has_pkg_resources else None
    if has_pkg_resources:
        from importlib.machinery import ModuleSpec
        sys.modules['pkg_resources'].__spec__ = ModuleSpec('pkg_resources', None)
    import mmengine.utils

    import mmvision_mamba  # noqa: F401
    return mmengine.utils.is_installed.__module__


def test_what_works_is_left_alone():
    assert call(modules_of_the_functions, True).startswith('mmengine.')
    assert call(modules_of_the_functions, False) == 'mmvision_mamba.bridges'
