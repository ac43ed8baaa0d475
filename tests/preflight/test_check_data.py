import pytest
from mmengine import Config

from mmvision_mamba.errors import DataError
from mmvision_mamba.preflight import annotation_files
from mmvision_mamba.preflight.check_data import check_datasets
from mmvision_mamba.preflight.datasets import data_root_variable, override_data_root

from ..helpers.tiny_datasets import change_json, coco_config

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')


def message_of(cfg, *args) -> str:
    with pytest.raises(DataError) as error:
        check_datasets(cfg, *args)
    assert 'DataError' not in str(error.value)
    return str(error.value)


class TestPaths:
    def test_good_ones(self, coco, ade):
        before = coco.pretty_text
        check_datasets(coco)
        check_datasets(ade)
        assert coco.pretty_text == before

    def test_missing_root(self, coco):
        override_data_root(coco, 'nowhere/at/all')
        message = message_of(coco)
        assert message.startswith('nowhere/at/all: no such file or folder in /')
        assert 'missing  nowhere/at/all/annotations/train.json' in message
        assert 'missing  nowhere/at/all/val/' in message
        assert '--cfg-options data_root=FOLDER' in message

    def test_missing_annotation_file(self, coco, tmp_path):
        (tmp_path / 'mine/annotations/val.json').unlink()
        message = message_of(coco)
        assert message.startswith(f'{tmp_path}/mine/annotations/val.json: no such file or folder (val_dataloader')
        assert f'found    {tmp_path}/mine/annotations/train.json' in message
        check_datasets(coco, ['train'])

    def test_missing_and_empty_image_folder(self, coco, tmp_path):
        for path in (tmp_path / 'mine/val').iterdir():
            path.unlink()
        assert message_of(coco).startswith(f'{tmp_path}/mine/val/: the folder is empty (val_dataloader.dataset')
        (tmp_path / 'mine/val').rmdir()
        assert message_of(coco).startswith(f'{tmp_path}/mine/val/: no such file or folder')

    def test_only_images_that_are_loaded_may_not_be_missing(self, coco, tmp_path):
        (tmp_path / 'mine/train/3.jpg').unlink()
        assert '1 of 4 images are missing, the first: ' in message_of(coco)
        check_datasets(coco, ['train'], skip_missing=True)
        train = coco.train_dataloader.dataset
        train.indices = 3
        check_datasets(coco)
        del train.indices
        train.left_out = [f'{tmp_path}/mine/train/./3.jpg']
        check_datasets(coco)

    def test_missing_segmentation_maps(self, ade):
        ade.train_dataloader.dataset.data_prefix.seg_map_path = 'maps'
        message = message_of(ade)
        assert message.startswith(f'{ade.data_root}/maps: no such file or folder (train_dataloader.dataset)')
        assert 'ADEChallengeData2016.zip' in message
        del ade.train_dataloader.dataset.pipeline[1]  # a pipeline that loads none needs none
        check_datasets(ade)

    def test_folder_of_panoptic_maps(self, coco):
        coco.train_dataloader.dataset.data_prefix.seg = 'maps'
        check_datasets(coco)
        coco.train_dataloader.dataset.pipeline[1].with_seg = True
        assert message_of(coco).startswith(f'{coco.data_root}/maps: no such file or folder (train_dataloader')

    def test_missing_evaluator_file(self, coco):
        coco.val_evaluator = [{'type': 'DumpDetResults'}, {'type': 'CocoMetric', 'ann_file': 'gone.json'}]
        assert message_of(coco).startswith('gone.json: no such file or folder in /')
        coco.val_evaluator = {'type': 'Evaluator', 'metrics': {'type': 'CocoMetric', 'ann_file': 'gone.json'}}
        assert message_of(coco).startswith('gone.json: no such file or folder in /')

    @pytest.mark.parametrize('wrap', [
        lambda d: {'type': 'RepeatDataset', 'times': 2, 'dataset': d},
        lambda d: {'type': 'ConcatDataset', 'datasets': [d]},
        lambda d: {'type': 'ClassBalancedDataset', 'oversample_thr': 1e-3, 'dataset': d},
        lambda d: {'type': 'MultiImageMixDataset', 'pipeline': [], 'dataset': {'type': 'RepeatDataset', 'dataset': d}},
    ])
    def test_inside_wrappers(self, coco, wrap):
        coco.train_dataloader.dataset = wrap(coco.train_dataloader.dataset.to_dict())
        check_datasets(coco)
        override_data_root(coco, 'nowhere')
        assert message_of(coco, ['train']).startswith('nowhere: no such file')

    def test_how_to_get_the_data_and_to_move_it(self, tmp_path):
        path = tmp_path / 'config.py'
        text = coco_config('data/coco').pretty_text.replace("data_root = 'data/coco'",
                                                            "data_root = '{{$COCO_ROOT:data/coco}}'", 1)
        path.write_text(text.replace('train.json', 'instances_train2017.json'))
        message = message_of(Config.fromfile(path))
        assert 'https://cocodataset.org/#download' in message
        assert 'COCO_ROOT=FOLDER in the environment, or --cfg-options data_root=FOLDER' in message
        cfg = coco_config('data/shapes')
        assert 'To get it: mmvision-mamba make-shapes data/shapes\n' in message_of(cfg)

    def test_the_variable_is_the_leafs_own(self, tmp_path):
        (tmp_path / 'base.py').write_text("data_root = '{{$BASE_ROOT:data/base}}'\n")
        (tmp_path / 'leaf.py').write_text("_base_ = './base.py'\ndata_root = '{{$LEAF_ROOT:data/leaf}}'\n")
        (tmp_path / 'fixed.py').write_text("_base_ = './leaf.py'\ndata_root = 'data/mine'\n")
        (tmp_path / 'none.py').write_text('work_dir = 3\n')
        assert [data_root_variable(Config.fromfile(tmp_path / f'{name}.py'))
                for name in ('base', 'leaf', 'fixed', 'none')] == ['BASE_ROOT', 'LEAF_ROOT', None, None]

    def test_what_it_does_not_know_passes(self, coco, ade):
        for dataset in (coco.train_dataloader.dataset, coco.val_dataloader.dataset):
            dataset.update(data_root='s3://bucket/coco')
        check_datasets(coco, ['train'])
        ade.train_dataloader.dataset.update(data_root='s3://bucket/ade')
        check_datasets(ade, ['train'])
        for cfg in (coco, ade):
            cfg.train_dataloader.dataset.update(data_root='nowhere', backend_args={'backend': 'petrel'})
            check_datasets(cfg, ['train'])
        coco.train_dataloader.dataset = {'type': 'NobodyKnows', 'data_root': 'nowhere', 'ann_file': 'a.json'}
        check_datasets(coco, ['train'])
        check_datasets(Config({'default_scope': 'mmdet', 'val_dataloader': None, 'train_dataloader': {}}))


class TestAnnotations:
    @pytest.mark.parametrize('annotations', [5, True, {}, 'x'])
    def test_no_list(self, coco, annotations):
        path = change_json(coco, 'train', lambda content: content.update(annotations=annotations))
        assert message_of(coco).startswith(f'{path}: a COCO annotation file has the lists')

    @pytest.mark.parametrize('part', [0, 0.01, 0.3, 0.5, 0.77, 0.999])
    def test_truncated(self, coco, part):
        path = f'{coco.data_root}/annotations/train.json'
        with open(path) as file:
            text = file.read()
        cut = text[:int(part * len(text))]
        with open(path, 'w') as file:
            file.write(cut)
        message = message_of(coco)
        assert message.startswith(f'{path}: the annotation file is ')
        assert '(line 1, byte' in message and f'of {len(cut)})' in message

    def test_cut_between_two_items_says_truncated(self, coco):
        path = f'{coco.data_root}/annotations/val.json'
        with open(path) as file:
            text = file.read()
        with open(path, 'w') as file:
            file.write(text[:text.index('}, {') + 2] + '\n\n')
        assert f'{path}: the annotation file is truncated (line' in message_of(coco)

    @pytest.mark.parametrize('content', [b'<html>', b'\xff\xd8\xff\xe0 binary', b'[' * 100000])
    def test_not_json(self, coco, content):
        with open(f'{coco.data_root}/annotations/train.json', 'wb') as file:
            file.write(content)
        assert 'train.json: the annotation file is' in message_of(coco)

    @pytest.mark.parametrize('name', ['val.JSON', 'val', 'val.json.txt'])
    def test_whatever_its_name(self, coco, tmp_path, name):
        file = tmp_path / 'mine/annotations' / name
        file.write_text('{"images": 3}')
        check_datasets(coco)
        coco.val_evaluator.ann_file = str(file)
        assert message_of(coco).startswith(str(file))
        coco.val_evaluator.ann_file = str(tmp_path / 'mine/annotations/val.json')
        coco.val_dataloader.dataset.ann_file = f'annotations/{name}'
        assert message_of(coco).startswith(str(file))

    def test_other_formats_must_be_json_too(self, coco):
        coco.train_dataloader.dataset.update(type='LVISV1Dataset', metainfo=None)
        check_datasets(coco)  # its classes and keys are its own affair
        with open(f'{coco.data_root}/annotations/train.json', 'w') as file:
            file.write('{"images": [')
        assert 'is truncated' in message_of(coco)

    @pytest.mark.parametrize('key', ['images', 'annotations', 'categories'])
    def test_keys(self, coco, key):
        path = change_json(coco, 'train', lambda content: content.pop(key))
        assert message_of(coco).startswith(f'{path}: ') and message_of(coco).endswith(f'has no {key}')

    def test_list_at_the_top(self, coco):
        with open(f'{coco.data_root}/annotations/train.json', 'w') as file:
            file.write('[]')
        assert message_of(coco).endswith('has no images and no annotations and no categories')

    def test_no_images(self, coco):
        change_json(coco, 'train', lambda content: content.update(images=[]))
        assert 'images is empty' in message_of(coco)

    def test_categories_without_names(self, coco):
        change_json(coco, 'train', lambda content: content['categories'][1].pop('name'))
        assert 'needs an id and a name' in message_of(coco)

    def test_test_sets_have_no_annotations(self, coco):
        change_json(coco, 'val', lambda content: content.pop('annotations'))
        assert 'has no annotations' in message_of(coco, ['test'])  # the evaluator needs them
        coco.test_evaluator.update(format_only=True)
        check_datasets(coco, ['test'])

    def test_unlabelled_training_images(self, coco):
        change_json(coco, 'train', lambda content: content.pop('annotations'))
        coco.train_dataloader.dataset.pipeline[1] = {'type': 'LoadEmptyAnnotations'}
        check_datasets(coco, ['train'])

    def test_other_classes(self, coco):
        path = change_json(coco, 'train', lambda content: content['categories'][1].update(name='cube'))
        message = message_of(coco)
        assert message.startswith(f"{path}: 1 of the config's 3 classes are not among its categories: square")
        assert 'The file has: circle, cube, star.\n' in message
        assert "metainfo=dict(classes=('circle', 'cube', 'star',))" in message and 'num_classes=3' in message

    def test_default_classes_are_those_of_the_data_set(self, coco):
        del coco.train_dataloader.dataset['metainfo']
        message = message_of(coco)
        assert "80 of the config's 80 classes" in message and 'person, bicycle' in message and '(80 in all)' in message

    def test_categories_may_be_more(self, coco):
        change_json(coco, 'train', lambda content: content['categories'].insert(1, {'id': 9, 'name': 'cube'}))
        check_datasets(coco)

    def test_order_of_categories(self, coco):
        """mmdet numbers labels in the file's order; the numbers of two files, and the names, must agree."""
        classes = coco.train_dataloader.dataset.metainfo.classes
        change_json(coco, 'val', lambda content: content['categories'].reverse())
        message = message_of(coco)
        assert 'val.json: its categories come in another order than those of' in message and 'MendedCoco' in message
        message = message_of(coco, ['val'])
        assert "another order than the config's classes" in message
        assert f'metainfo=dict(classes={tuple(reversed(classes))})' in message
        for split in ('train', 'val', 'test'):
            coco[f'{split}_dataloader'].dataset.metainfo.classes = tuple(reversed(classes))
        assert "another order than the config's classes" in message_of(coco)
        change_json(coco, 'train', lambda content: content['categories'].reverse())
        check_datasets(coco)

    def test_a_split_that_lacks_a_class_is_read_by_name(self, coco):
        change_json(coco, 'val', lambda content: content['categories'].pop())
        message = message_of(coco)
        assert "1 of the config's 3 classes are not among" in message
        assert 'Way out: read the files by name: type=' in message
        for split in ('train', 'val', 'test'):
            coco[f'{split}_dataloader'].dataset.type = 'mmvision_mamba.datasets.coco_dataset.MendedCocoDataset'
        for split in ('val', 'test'):
            coco[f'{split}_evaluator'].type = 'mmvision_mamba.evaluation.coco_metric.MendedCocoMetric'
        check_datasets(coco)
        coco.val_evaluator.type = 'CocoMetric'  # which numbers classes in the order of its file
        assert 'not among its categories' in message_of(coco)

    def test_images_in_another_folder(self, coco, tmp_path):
        for path in (tmp_path / 'mine/train').iterdir():
            path.rename(path.with_name(f'_{path.name}'))
        assert 'train.json: its images are not in' in message_of(coco)

    def test_images_whose_names_look_the_same(self, coco, tmp_path):
        for path in (tmp_path / 'mine/train').iterdir():
            path.rename(path.with_name(f'e\u0301{path.name}'))
        change_json(coco, 'train', lambda content: [
            image.update(file_name=f'\xe9{image["file_name"]}') for image in content['images']])
        assert 'looks the same in other Unicode characters' in message_of(coco)

    def test_each_file_is_parsed_once(self, coco, monkeypatch):
        parsed = []
        read = annotation_files.read_json
        monkeypatch.setattr(annotation_files, 'read_json', lambda path: parsed.append(path) or read(path))
        check_datasets(coco)
        assert sorted(parsed) == [f'{coco.data_root}/annotations/{split}.json' for split in ('train', 'val')]
