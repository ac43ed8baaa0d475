import json

import pytest

from ..helpers.custom_folders import coco


def test_split_is_the_same_each_time_and_keeps_all(tool, tmp_path):
    found = []
    for i in range(2):
        root = coco(tmp_path / str(i), {'all.json': 'images'}, count=7)
        assert tool('split_dataset', root, '--val', '0.3').code == 0
        parts = [json.loads((root / f'splits/{split}.json').read_text()) for split in ('train', 'val')]
        found.append([[image['id'] for image in part['images']] for part in parts])
        assert [len(part['images']) for part in parts] == [5, 2]
        assert all({a['image_id'] for a in part['annotations']} == {i['id'] for i in part['images']} for part in parts)
        whole = json.loads((root / 'all.json').read_text())
        assert all(part['categories'] == whole['categories'] for part in parts)
        assert sum(len(part['annotations']) for part in parts) == len(whole['annotations'])
    assert found[0] == found[1] and sorted(found[0][0] + found[0][1]) == list(range(7))


@pytest.mark.parametrize(('arguments', 'message'), [
    (['nowhere'], 'nowhere: no such folder'), (['.'], 'neither one COCO annotation file nor folders'),
    (['one', '--val', '1'], 'must lie between 0 and 1, got 1.0'), (['one'], 'it takes two')])
def test_wrong_input(arguments, message, tool, tmp_path):
    coco(tmp_path / 'one', {'a.json': 'images'}, count=1)
    (tmp_path / 'empty').mkdir()
    if arguments == ['.']:
        arguments = ['empty']
    result = tool('split_dataset', *arguments)
    assert result.code == 2 and message in result.err and len(result.err.strip().splitlines()) <= 2, result.err
    assert not (tmp_path / 'one/splits').exists()
