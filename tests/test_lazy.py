import importlib
import sys

import pytest

PACKAGE = '''
from mmvision_mamba.lazy import attach

__getattr__, __dir__ = attach(__name__, dict(Number='numbers_', twice='numbers_', other='below.deep'))
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with lazy names, not imported before."""
    folder = tmp_path / 'lazy_package'
    (folder / 'below').mkdir(parents=True)
    (folder / '__init__.py').write_text(PACKAGE)
    (folder / 'numbers_.py').write_text('class Number: pass\n\ndef twice(n): return 2 * n\n')
    (folder / 'below/__init__.py').touch()
    (folder / 'below/deep.py').write_text('other = object()\n')
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module('lazy_package')
    for name in [name for name in sys.modules if name.partition('.')[0] == 'lazy_package']:
        del sys.modules[name]


def test_a_name_is_imported_when_it_is_used(package):
    assert 'lazy_package.numbers_' not in sys.modules
    assert package.twice(4) == 8
    assert package.Number is sys.modules['lazy_package.numbers_'].Number
    assert 'lazy_package.below' not in sys.modules
    from lazy_package import other
    assert other is sys.modules['lazy_package.below.deep'].other


def test_the_names_are_listed(package):
    assert {'Number', 'twice', 'other'} <= set(dir(package))


def test_other_names_are_no_attributes(package):
    with pytest.raises(AttributeError, match=r"^module 'lazy_package' has no attribute 'numbre'$"):
        package.numbre  # noqa: B018
    with pytest.raises(ImportError, match=r"cannot import name 'numbre' from 'lazy_package'"):
        from lazy_package import numbre  # noqa: F401
    assert not hasattr(package, '__wrapped__')


def test_modules_are_attributes(package):
    assert package.below is sys.modules['lazy_package.below']
    with pytest.raises(AttributeError, match="has no attribute 'deep'"):
        package.deep  # noqa: B018


@pytest.mark.parametrize('name', [
    'mmvision_mamba', 'mmvision_mamba.backbones', 'mmvision_mamba.datasets', 'mmvision_mamba.inference'])
def test_every_name_that_a_package_offers_is_there(name):
    package = importlib.import_module(name)
    if name.endswith('inference'):
        pytest.importorskip('mmcv')
    for public in package.__all__:
        assert getattr(package, public) is not None
    assert set(package.__all__) <= set(dir(package))
