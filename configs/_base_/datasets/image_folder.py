# Settings that data sets of one folder per class share. The files that inherit from this one name the data and the
# augmentation.
dataset_type = 'ImageFolder'

train_dataloader = dict(
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type=dataset_type, data_prefix=dict(img_path='train')))
val_dataloader = dict(
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, data_prefix=dict(img_path='val'), test_mode=True))
test_dataloader = val_dataloader

val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
