"""transformers' Auto classes and pipelines take the published repositories, without running code from them."""
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip('transformers')

import transformers

import mmvision_mamba.transformers
from mmvision_mamba.transformers import MambaVisionBackbone, MambaVisionForImageClassification, MambaVisionModel

from ..data.golden.weights import image
from ..helpers.hub_repositories import GOLDEN
from ..helpers.hub_server import environment, hub


@pytest.fixture
def on_the_hub(monkeypatch):
    """transformers 5.24's AutoBackbone asks the Hub for any name, a folder's too."""
    from transformers.models.auto import auto_factory
    monkeypatch.setattr(auto_factory, 'hf_api', lambda: type('Api', (), dict(repo_exists=lambda self, name: True))(),
                        raising=False)


@pytest.mark.parametrize(('auto', 'expected'), [
    ('AutoModel', MambaVisionModel), ('AutoModelForImageClassification', MambaVisionForImageClassification),
    ('AutoBackbone', MambaVisionBackbone)])
def test_models(auto, expected, small, on_the_hub):
    auto = getattr(transformers, auto)
    model = auto.from_pretrained(small)
    assert type(model) is expected and model.config.dim == 16
    assert type(auto.from_config(model.config)) is expected
    assert not any('transformers_modules' in name for name in sys.modules)


def test_the_published_logits(golden):
    model = transformers.AutoModelForImageClassification.from_pretrained(golden)
    with torch.no_grad():
        logits = model(torch.from_numpy(image(2, 224, 224))).logits
    np.testing.assert_allclose(logits, np.load(GOLDEN / 'logits_t_2x224x224.npz')['logits'], atol=1e-4, rtol=0)


def picture():
    return Image.fromarray((np.random.default_rng(0).random((80, 90, 3)) * 255).astype(np.uint8))


def test_pipeline(small, tmp_path):
    found = transformers.pipeline('image-classification', model=small)(picture(), top_k=10)
    model = MambaVisionForImageClassification.from_pretrained(small)
    processor = transformers.AutoImageProcessor.from_pretrained(small)
    with torch.no_grad():
        scores = model(**processor(picture(), return_tensors='pt')).logits.softmax(-1)[0]
    assert {one['label'] for one in found} == {f'thing {i}' for i in range(10)}
    for one in found:
        assert one['score'] == pytest.approx(scores[int(one['label'].split()[1])].item(), abs=1e-5)
    for part in (model, processor):
        part.save_pretrained(tmp_path)
    again = transformers.pipeline('image-classification', model=str(tmp_path))
    assert again(picture(), top_k=10) == found and again.image_processor.to_dict() == processor.to_dict()


def test_other_repositories_lack_what_they_lacked(tmp_path):
    (tmp_path / 'config.json').write_text('{"model_type": "vit"}')
    with pytest.raises(OSError, match='preprocessor_config'):
        transformers.AutoImageProcessor.from_pretrained(tmp_path)
    with pytest.raises(OSError):
        transformers.AutoImageProcessor.from_pretrained(tmp_path / 'nowhere')


def test_registering_again_changes_nothing(small):
    before = transformers.AutoImageProcessor.from_pretrained
    mmvision_mamba.transformers.register()
    assert transformers.AutoImageProcessor.from_pretrained is before


def test_a_repository_of_the_hub_by_its_name(small, tmp_path):
    """Downloaded by a process that has imported nothing, then taken from the cache by one without a network."""
    picture().save(tmp_path / 'photo.png')
    program = f'''
import sys
import mmvision_mamba.transformers
from transformers import AutoBackbone, pipeline
print(len(pipeline('image-classification', model='nvidia/small')({str(tmp_path / 'photo.png')!r}, top_k=3)))
if sys.argv[1:] == ['online']:  # transformers 5.24 asks the Hub whether a backbone is there
    print(type(AutoBackbone.from_pretrained('nvidia/small')).__module__)
'''
    def run(server, *arguments, **more):
        done = subprocess.run([sys.executable, '-c', program, *arguments], capture_output=True, text=True,
                              env=os.environ | environment(server, tmp_path / 'home', **more))
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()
    with hub(tmp_path / 'served') as server:
        server.add('nvidia/small', {file.name: file.read_bytes() for file in Path(small).iterdir()})
        assert run(server, 'online') == ['3', 'mmvision_mamba.transformers.modeling']
        assert sum('model.safetensors' in path for path in server.downloads()) == 1
        assert not any(path.endswith('.py') for _, path, _ in server.asked)
    assert run(None, HF_HUB_OFFLINE='1') == ['3']
