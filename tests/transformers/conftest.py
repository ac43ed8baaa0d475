"""Folders in the layout of the published repositories."""
import pytest

from ..helpers import hub_repositories


@pytest.fixture(scope='session')
def golden(tmp_path_factory):
    return str(hub_repositories.golden(tmp_path_factory.mktemp('hub') / 'MambaVision-T-1K'))


@pytest.fixture(scope='session')
def small(tmp_path_factory):
    return str(hub_repositories.small(tmp_path_factory.mktemp('hub') / 'small'))
