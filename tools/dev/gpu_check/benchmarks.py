"""Parts that are commands of `mmvision-mamba benchmark`."""
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from .stages import BENCHMARKS, Place

SMALL_ARCH = dict(dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4))
# Values of options in a dry run; None: the option is left out.
_SMALL = {'shapes': ['1,18,16'], 'sizes': ['64,64'], 'batch': ['1'], 'windows': ['4,2'], 'train-batch': ['1'],
          'rounds': ['1'], 'peers': ['resnet-50'], 'cuda-graphs': None, 'compile': None}


def measured(place: Place, name: str) -> dict:
    """The results of a command of BENCHMARKS, as `benchmark` writes them; where mamba-ssm's scan does not run, with the
    chunked one in its place."""
    import torch

    from mmvision_mamba.commands.benchmark import run_part, without_missing_backend
    words = BENCHMARKS[name].split()
    with small_machine() if place.small else contextlib.nullcontext():
        if place.small:
            words = small_words(words, place.folder)
        out = place.folder / 'results.json'
        usable = without_missing_backend(words, torch.device(place.device))
        if usable != words and 'chunked' not in words:
            usable = ['chunked' if word == 'mamba_ssm' else word for word in words]
        run_part([*usable, '--device', place.device], out)
    results = json.loads(out.read_text())
    errors = [f'{row["group"]}, {row["name"]}: {row["error"]}' for row in results['rows'] if row['error']]
    return dict(passed=not errors, why=errors[0][:300] if errors else '', results=results)


def small_words(words: list[str], folder: Path) -> list[str]:
    """The command at sizes too small to mean anything; whole models are the tests' small ones."""
    command, *options = ' '.join(words).split(' --')
    kind = command.split()[0]
    small = [kind]
    if kind in ('detector', 'segmentor'):
        small += [str(small_config(folder, kind)), '--sizes', '64,64']
    for option in options:
        name, *values = option.split()
        values = _SMALL.get(name, values)
        if values is not None:
            small += [f'--{name}', *values]
    return small


def small_config(folder: Path, kind: str) -> Path:
    """A file with the config of the tests' small detector or segmentor."""
    from tests.helpers.small_configs import DETECTOR, SEGMENTOR
    path = folder / f'{kind}.py'
    path.write_text(dict(detector=DETECTOR, segmentor=SEGMENTOR)[kind])
    return path


@contextlib.contextmanager
def small_machine() -> Iterator[None]:
    """Within it, copies and products that rates are taken from are small, models tiny, and turns are single calls."""
    from mmvision_mamba.backbones.family import FAMILY
    from mmvision_mamba.benchmark import roofline, timing
    arch = FAMILY['tiny']
    with patch.object(roofline, 'MATMUL_SHAPES', dict(cpu=[(64, 32, 16)])), \
            patch.object(roofline, 'COPY_BYTES', dict(cpu=2**16)), patch.object(timing, 'TURN_SECONDS', 0):
        FAMILY['tiny'] = SMALL_ARCH
        try:
            yield
        finally:
            FAMILY['tiny'] = arch
