"""Freed memory is kept, which the process's own count of page faults shows."""
import os
import platform
import subprocess
import sys

import pytest

from mmvision_mamba.allocator import keep_freed_memory

CODE = '''
import resource, sys, torch
from mmvision_mamba.allocator import keep_freed_memory
kept = keep_freed_memory('cpu') if sys.argv[1] == 'keep' else None
def work():
    return sum((torch.ones(2**25) + i).sum() for i in range(3))  # 128 MiB each
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(kept, min(faults() for _ in range(5)))  # in the first ones the heap grows to what it needs
'''
glibc = pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason="glibc's malloc alone can be told")


def faults(word, **environment):
    kept, count = subprocess.run([sys.executable, '-c', CODE, word], capture_output=True, text=True, check=True,
                                 timeout=120, env={**os.environ, **environment}).stdout.split()
    return kept, int(count)


@glibc
def test_pages_are_made_once():
    assert faults('leave')[1] > 50_000  # six tensors of 32,768 pages, or fewer if these are large ones
    kept, count = faults('keep')
    assert kept == 'True' and count < 1000


@glibc
@pytest.mark.parametrize(('name', 'value'), [
    ('MALLOC_TRIM_THRESHOLD_', '131072'), ('GLIBC_TUNABLES', 'glibc.malloc.trim_threshold=131072'),
    ('LD_PRELOAD', '/nowhere/libjemalloc.so.2')])
def test_the_environment_decides(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert keep_freed_memory('cpu') is False


def test_other_devices_and_libraries_are_left_alone(monkeypatch):
    assert keep_freed_memory('cuda:0') is False
    monkeypatch.setattr(platform, 'libc_ver', lambda: ('', ''))
    assert keep_freed_memory('cpu') is False
