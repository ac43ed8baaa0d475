"""Random inputs for a bounded time: `pytest -m slow tests/hostile/test_fuzz.py -s` prints how many were tried."""
import json
import os
import random
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

from mmvision_mamba.datasets.split import split_coco
from mmvision_mamba.errors import DataError
from mmvision_mamba.preflight.coco_folder import read_coco

from ..helpers import ROOT
from ..helpers.tiny_datasets import coco_content, detection_config
from . import fuzz

SECONDS = int(os.environ.get('FUZZ_SECONDS', 60))  # of each target
EXAMPLES = int(os.environ.get('FUZZ_EXAMPLES', 300))


def test_a_few_of_each():
    """The targets themselves, quickly: they accept what is good, and mutations differ."""
    generator = random.Random(0)
    for content in fuzz.IMAGES:
        fuzz.image(content)
        fuzz.image(fuzz.spliced(content, generator.randrange, b'\0\xff'))
    for content in fuzz.checkpoint_files():
        fuzz.checkpoint(content)
        fuzz.checkpoint(fuzz.spliced(content, generator.randrange, b'\0\xff'))
    fuzz.annotations(coco_content())
    seen = {repr(fuzz.mutated(coco_content(), generator.randrange)) for _ in range(50)}
    assert len(seen) > 40


def test_a_file_is_split_or_refused(tmp_path):
    generator, refused = random.Random(0), 0
    for _ in range(200):
        (tmp_path / 'all.json').write_text(json.dumps(fuzz.mutated(coco_content(), generator.randrange)))
        try:
            parts = split_coco(read_coco(tmp_path / 'all.json'), 0.5)
            assert all(part['images'] for part in parts.values())
        except DataError as error:
            assert len(str(error).splitlines()) <= 2
            refused += 1
    assert 20 < refused < 180


@pytest.mark.slow
@pytest.mark.parametrize('target', ['image', 'annotations', 'checkpoint'])
def test_atheris(target, tmp_path):
    if find_spec('atheris') is None:
        pytest.skip("atheris is not installed: pip install 'mmvision-mamba[dev]'")
    result = subprocess.run(
        [sys.executable, '-m', 'tests.hostile.fuzz', target, f'-max_total_time={SECONDS}', '-rss_limit_mb=6000',
         f'-artifact_prefix={tmp_path}/'], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert result.returncode == 0, result.stderr[-4000:]
    done = re.search(r'Done (\d+) runs in (\d+) second', result.stderr)
    print(f'\natheris, {target}: {done[1]} inputs in {done[2]} s, no crash')


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_coco_files_through_training_and_evaluation(tmp_path_factory, run):
    """The whole way: whatever isn't refused in a line or two is loaded, trained on and evaluated."""
    generator = random.Random(int(os.environ.get('FUZZ_SEED', 0)))
    refused = 0
    for _ in range(EXAMPLES):
        content = fuzz.mutated(coco_content(), generator.randrange)

        def change(old, content=content):
            old.clear()
            old.update(content)

        refused += run(detection_config(tmp_path_factory.mktemp('fuzz'), change), evaluation=True).refused is not None
    print(f'\n{EXAMPLES} COCO files: {refused} refused, {EXAMPLES - refused} loaded and evaluated')
    assert 0 < refused < EXAMPLES
