"""Errors a user can mend: the way to missing packages works wherever this package came from."""
from importlib import metadata

import pytest

from mmvision_mamba.errors import MissingExtraError, how_to_install, require


def test_missing_packages_are_named_with_their_bounds(monkeypatch):
    monkeypatch.setattr(metadata, 'requires', lambda name: [
        'torch<2.15,>=2.4', 'onnx<2,>=1.17; extra == "export"', "onnxslim ; extra == 'export'",
        'ray[data]; extra == "ray"'])
    assert how_to_install('export') == "pip install 'onnx<2,>=1.17' 'onnxslim' (the extra 'export')"
    assert str(MissingExtraError('--ray', 'ray')) == \
        "--ray needs packages that are not installed: pip install 'ray[data]' (the extra 'ray')"


@pytest.mark.parametrize('found', [metadata.PackageNotFoundError, None])
def test_without_metadata_the_checkout_installs_them(found, monkeypatch):
    def requires(name):
        if found:
            raise found
    monkeypatch.setattr(metadata, 'requires', requires)
    assert how_to_install('app') == "pip install -e '.[app]' in the checkout"


def test_every_extra_has_packages():
    for extra in ('openmmlab', 'onedl', 'export', 'app', 'ray', 'completion'):
        assert extra in how_to_install(extra)


def test_require_names_what_is_missing():
    require('this test', 'dev', 'pytest')
    with pytest.raises(MissingExtraError, match='this test needs packages'):
        require('this test', 'dev', 'no_such_package')
