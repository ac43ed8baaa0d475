import pytest

from ..helpers.tiny_datasets import ade_dataset, coco_dataset


@pytest.fixture
def coco(tmp_path):
    return coco_dataset(tmp_path)


@pytest.fixture
def ade(tmp_path):
    return ade_dataset(tmp_path)
