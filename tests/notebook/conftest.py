"""Small models on small data of one's own, trained once."""
import pytest

from ..helpers import custom_folders
from ..helpers.fresh_start import forget_earlier_runs
from ..helpers.small_configs import DETECTOR, SEGMENTOR


@pytest.fixture(scope='session')
def own_data(tmp_path_factory):
    """A folder in COCO format and one of images and masks; neither is laid out as Shapes are."""
    root = tmp_path_factory.mktemp('own')
    custom_folders.coco(root / 'coco', {'train/_annotations.coco.json': 'train',
                                        'valid/_annotations.coco.json': 'valid'})
    custom_folders.image_mask(root / 'masks', {'train/images': 'train/masks', 'val/images': 'val/masks'})
    return root


@pytest.fixture(scope='session')
def trained(tmp_path_factory, own_data):
    """A detector and a segmentor, the latter validated, trained in one process one after the other."""
    from mmvision_mamba import Model
    forget_earlier_runs()
    root = tmp_path_factory.mktemp('trained')
    found = {}
    for name, text, data, options in (('detector', DETECTOR, 'coco', {'train_cfg.val_interval': 9}),
                                      ('segmentor', SEGMENTOR, 'masks', {})):
        config = root / f'{name}.py'
        config.write_text(text)
        found[name] = Model(config, data=own_data / data, work_dir=root / name)
        assert found[name].train(epochs=1, batch=2, lr=1e-3, no_pretrained=True, **options) is found[name]
    return found
