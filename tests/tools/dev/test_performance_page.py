"""docs/performance.md, whose tables tools/dev/performance_page.py fills."""
from mmvision_mamba.benchmark.plan import PLAN

from ...helpers import ROOT


def test_the_page_is_up_to_date(tool):
    result = tool('dev/performance_page', '--check')
    assert result.code == 0, result.out + result.err


def test_the_page_has_a_place_for_every_part():
    page = (ROOT / 'docs/performance.md').read_text()
    for plan in PLAN.values():
        for part in plan:
            assert f'<!-- results: {part} -->' in page, part
