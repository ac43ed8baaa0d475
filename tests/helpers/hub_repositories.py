"""Folders laid out as the published repositories of the Hub."""
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from mmvision_mamba.backbones import MambaVisionClassifier

from ..data.golden.weights import array_for, fill
from .small_models import SMALL

GOLDEN = Path(__file__).parent.parent / 'data/golden'
TINY = dict(dim=80, in_dim=32, depths=[1, 3, 8, 4], num_heads=[2, 4, 8, 16])


def config_json(folder: Path, **settings) -> None:
    classes = ('MambaVisionConfig', 'MambaVisionModel', 'MambaVisionModelForImageClassification')
    auto_map = dict(zip(('AutoConfig', 'AutoModel', 'AutoModelForImageClassification'), (
        f'{file}_mambavision.{name}' for file, name in zip(('configuration', 'modeling', 'modeling'), classes))))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'config.json').write_text(json.dumps({
        'model_type': 'mambavision', 'architectures': ['MambaVisionModelForImageClassification'], 'auto_map': auto_map,
        'window_size': [8, 8, 14, 7], 'mlp_ratio': 4, 'drop_path_rate': 0.2, 'torch_dtype': 'float32',
        'transformers_version': '4.48.0', **settings}))


def golden(folder: Path) -> Path:
    """MambaVision-T with the golden weights."""
    config_json(folder, **TINY)
    shapes = json.loads((GOLDEN / 'keys_t.json').read_text())
    save_file({f'model.{key}': torch.from_numpy(array_for(key, tuple(shape))) for key, shape in shapes.items()},
              folder / 'model.safetensors', metadata={'format': 'pt'})
    return folder


def small(folder: Path, classes: int = 10, **settings) -> Path:
    """The smallest MambaVision."""
    config_json(folder, **SMALL, id2label={str(i): f'thing {i}' for i in range(classes)}, **settings)
    model = fill(MambaVisionClassifier(SMALL, classes))
    save_file({f'model.{key}': value.contiguous() for key, value in model.state_dict().items()},
              folder / 'model.safetensors', metadata={'format': 'pt'})
    return folder


def put_in_cache(folder: Path, cache: Path, name: str) -> None:
    """Copy a folder into a cache of huggingface_hub's, as if the repository `name` had been downloaded."""
    commit = '0123456789abcdef0123456789abcdef01234567'
    repository = cache / f'models--{name.replace("/", "--")}'
    shutil.copytree(folder, repository / 'snapshots' / commit)
    (repository / 'refs').mkdir()
    (repository / 'refs/main').write_text(commit)
