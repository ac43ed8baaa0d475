"""The commands of docs/medical.md, on its own data, with a smaller network and fewer iterations."""
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmvision_mamba.runtime.standalone import main as run_exported

from ..helpers import ROOT

PAGE = (ROOT / 'docs/medical.md').read_text()
SMALL = '''
model['backbone'] = dict(
    arch=dict(_delete_=True, dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4)), window_size=(4, 2),
    init_cfg=None)
model.update(decode_head=dict(in_channels=[16, 32, 64, 128], channels=16),
             auxiliary_head=dict(in_channels=64, channels=16))
for loader in (train_dataloader, val_dataloader):
    loader.update(num_workers=0, persistent_workers=False)
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2))
custom_imports = dict(_delete_=True, imports=[], allow_failed_imports=False)
'''


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_walk_through(tool, tmp_path):
    pytest.importorskip('tifffile'), pytest.importorskip('onnxruntime')
    blocks = re.findall(r'^```(\w+)\n(.*?)^```', PAGE, re.DOTALL | re.MULTILINE)
    (_, making), (_, config), (_, commands) = blocks
    tool('models')  # which makes the folder the current one
    exec(making)
    Path('scans.py').write_text(config + SMALL)
    for line in commands.splitlines():
        program, *arguments = shlex.split(line.replace('iter_400', 'iter_2'))
        if program == 'python':
            assert arguments[:2] == ['-m', 'mmvision_mamba.runtime.standalone'] and run_exported(arguments[2:]) == 0
            continue
        run = tool(arguments[0].replace('-', '_'), *arguments[1:])
        assert program == 'mmvision-mamba' and run.code == 0, f'{line}\n{run.out}\n{run.err}'
    assert 'bands=[\n                    1,' in Path('work/measured.py').read_text() or \
        'bands=[1]' in Path('work/measured.py').read_text().replace('\n', '').replace(' ', '').replace(',]', ']')
    labels = [np.asarray(Image.open(path)) for path in (next(Path('found/preds').glob('000.*')), 'run/000_map.png')]
    assert labels[0].shape == (64, 72) and (labels[0] == labels[1]).mean() > 0.999
