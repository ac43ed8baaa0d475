"""A pytest plugin: after a fault of the device, which every later call would meet again, the process ends.

pytest-xdist counts the test as failed and goes on in a new process.
"""
import os

import pytest


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item) -> None:
    import torch
    if torch.cuda.is_available():
        try:
            torch.cuda.synchronize()
        except RuntimeError as error:
            print(f'{item.nodeid}: {error}', flush=True)
            os._exit(1)
