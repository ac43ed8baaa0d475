"""These tests need models to infer with."""
import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
