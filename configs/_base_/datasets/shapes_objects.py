# Shapes, generated, one to an image. data_root is the folder that
# `mmvision-mamba make-shapes data/shapes_objects --kind objects --size 64` makes:
#     {train,val}/{ellipse,rectangle,triangle}/*.png
# Move it with the environment variable SHAPES_OBJECTS_ROOT or with --cfg-options data_root=...
_base_ = './image_folder.py'

data_root = '{{$SHAPES_OBJECTS_ROOT:data/shapes_objects}}'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='PackImage', input_size=64, is_training=True, scale=(0.8, 1.0), color_jitter=0.),
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackImage', input_size=64, crop_pct=1.0)]

# Reading a small image takes a millisecond or two: workers would only compete with the training for the cores.
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='InfiniteSampler'),
    dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator
