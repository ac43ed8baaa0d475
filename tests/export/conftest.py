"""Files that several tests look at, exported once."""
import pytest

from .detectors import build, cascade, export, single_stage


@pytest.fixture(scope='session')
def exported(tmp_path_factory):
    """Models, ONNX files and what was checked: a Cascade Mask R-CNN of any batch, a RetinaNet of images as they are."""
    folder = tmp_path_factory.mktemp('onnx')
    kinds = dict(cascade=(cascade(), dict(dynamic='batch')),
                 retinanet=(single_stage('RetinaNet'), dict(with_preprocess=True)))
    found = {}
    for name, (cfg, options) in kinds.items():
        model, path = build(cfg), folder / f'{name}.onnx'
        found[name] = model, path, export(model, path, **options)
    return found
