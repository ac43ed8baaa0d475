"""Parts about the machine: what it is and has, and the tests that are marked gpu."""
import os
import re
import subprocess
import sys
from importlib import metadata
from xml.etree import ElementTree

import torch

from . import ROOT
from .stages import Place

PACKAGES = ('torch', 'torchvision', 'triton', 'timm', 'numpy', 'mmengine', 'mmcv-lite', 'mmdet', 'mmsegmentation',
            'onedl-mmcv-lite', 'onedl-mmdetection', 'onedl-mmsegmentation', 'pycocotools', 'opencv-python',
            'opencv-python-headless')
TESTS = ('tests/ops', 'tests/backbones', 'tests/mmcv_ops', 'tests/engine')
PROCESSES = 4  # of the tests, beside the other lanes


def versions(place: Place) -> dict:
    """What the machine is, and the versions that its numbers depend on."""
    from mmvision_mamba.benchmark.report import clocks, machine
    device = torch.device(place.device)
    facts = {**machine(device), **clocks(device)}
    if device.type == 'cuda':
        properties = torch.cuda.get_device_properties(device)
        facts |= dict(multiprocessors=properties.multi_processor_count, memory_gib=properties.total_memory / 2**30,
                      capability='.'.join(map(str, torch.cuda.get_device_capability(device))))
    facts['nvcc'] = _first_line('nvcc', '--version', wanted='release')
    for package in PACKAGES:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    cells = [[name, str(value)] for name, value in facts.items() if value is not None]
    return dict(machine=facts, table=[['this machine', ''], cells])


def _first_line(*command: str, wanted: str) -> str | None:
    """The first line of a program's output with `wanted` in it; None: there is no such program."""
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    return next((line.strip() for line in output.splitlines() if wanted in line), None)


def tests(place: Place) -> dict:
    """The tests marked gpu, several at a time; in a dry run they are only found."""
    report, tests = place.folder / 'tests.xml', TESTS[:1] if place.small else TESTS
    options = ['--collect-only'] if place.small else ['-n', str(PROCESSES), '--timeout=100']
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get('PYTHONPATH'), str(ROOT / 'tools' / 'dev'))))
    # That machine may have plugins which do not go with the pytest that the wheels bring.
    plugins = ('xdist', 'timeout', 'gpu_check.after_faults', 'no:cacheprovider')
    done = subprocess.run([sys.executable, '-m', 'pytest', '-m', 'gpu', *(f'-p{name}' for name in plugins),
                           f'--junitxml={report}', *options, *tests], cwd=ROOT,
                          env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': path,
                               'PYTEST_DISABLE_PLUGIN_AUTOLOAD': '1'}, capture_output=True, text=True)
    print(done.stdout[-20000:], done.stderr[-5000:], sep='\n', flush=True)
    if place.small:
        found = re.search(r'(\d+)(?:/\d+)? tests? collected', done.stdout)
        return dict(passed=done.returncode == 0 and bool(found), why=found[0] if found else done.stdout[-300:])
    cases = list(ElementTree.parse(report).iter('testcase'))
    failed = {f'{case.get("classname")}.{case.get("name")}': outcome.get('message', '').splitlines()
              for case in cases for outcome in case if outcome.tag in ('failure', 'error')}
    cells = [[name.removeprefix('tests.'), (message or [''])[0][:200].replace('|', '/')]
             for name, message in failed.items()]
    return dict(passed=not failed and done.returncode == 0,
                why=f'{len(failed)} of {len(cases)} failed' if failed else '' if done.returncode == 0 else
                f'pytest ended with code {done.returncode}',
                table=[['failed test', ''], cells] if cells else [['tests marked gpu', ''], [['passed', str(
                    len(cases) - sum(outcome.tag == 'skipped' for case in cases for outcome in case))]]])
