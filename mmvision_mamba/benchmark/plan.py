"""The commands whose results docs/performance.md quotes, by device and by the name of the results."""
_DETECTORS = ' '.join(f'cascade_mask_rcnn_mambavision_{name}_coco' for name in ('t', 't_fit'))
_SEGMENTORS = ' '.join(f'upernet_mambavision_{name}_ade20k' for name in ('t', 't_fit'))
# Everything in its best setting, peers too. Compiled and in bfloat16 they have runs of their own: on two cores a model
# takes a minute to compile, and a run of all settings an hour.
_BEST = '--channels-last --fuse --no-training --rounds 3'
_BEST_TRAINING = '--channels-last --rounds 3'
# On two cores a whole model takes ten seconds an image, and most of a minute to compile its backbone.
_BEST_WHOLE = '--channels-last --fuse --amp none bf16 --no-training --rounds 2'
_BEST_WHOLE_TRAINING = '--channels-last --rounds 2'
_DETECTOR = 'detector cascade_mask_rcnn_mambavision_t_fit_coco'
_SEGMENTOR = 'segmentor upernet_mambavision_t_fit_ade20k'
_PEERS = '--peers swin-t convnext-t'
_LARGE3 = 'upernet_mambavision_l3_ade20k-640x640 --sizes 640,640 --train-batch 1'

PLAN = dict(
    cpu={
        'roofline': 'roofline --dtypes float32 bfloat16',
        'scan': 'scan',
        'scan_tokens': 'scan --sweep tokens --values 256 1024 4200 16384 65536',
        'mixer': 'mixer',
        'backbone': 'backbone --sizes 224,224 512,512 --batch 1',
        'backbone_detection': 'backbone --sizes 800,1344 --windows 14,7 112,56 --no-training',
        'side': 'backbone --sweep side --values 512 1024 2048 --paddings fit --windows 14,7 --no-training',
        'peers': f'backbone --sizes 512,512 --paddings fit --windows 14,7 112,56 --peers {_BEST}',
        'peers_detection': f'backbone --sizes 800,1344 --paddings fit --windows 14,7 112,56 --peers {_BEST}',
        'peers_training': f'backbone --sizes 512,512 --paddings fit --windows 14,7 112,56 --peers {_BEST_TRAINING}',
        'peers_compiled': 'backbone --sizes 512,512 --paddings fit --windows 14,7 --peers swin-t convnext-t resnet-50 '
                          '--compile --amp none bf16 --no-training --rounds 3',
        'peers_training_compiled': f'backbone --sizes 512,512 --paddings fit --windows 14,7 {_PEERS} --compile '
                                   '--rounds 3',
        'variants': 'backbone --sizes 512,512 --paddings fit --channels-last --compile --amp none bf16 --no-training',
        'profile': 'backbone --sizes 512,512 800,1344 --paddings fit --windows 112,56 --profile --no-training',
        'detector': f'{_DETECTOR} {_PEERS} {_BEST_WHOLE}',
        # Half a minute a step: channels last, which gains nothing in the segmentor, would take another 8 minutes.
        'detector_training': f'{_DETECTOR} --sizes 512,512 --train-batch 1 {_PEERS} --rounds 2',
        'detector_profile': f'{_DETECTOR} {_PEERS} --profile --no-training --rounds 1',
        # Images of ADE20K are tested with a short side of 512; 3:4 is the most frequent shape.
        'segmentor': f'{_SEGMENTOR} --sizes 512,683 {_PEERS} {_BEST_WHOLE}',
        'segmentor_training': f'{_SEGMENTOR} --sizes 512,512 --train-batch 1 {_PEERS} {_BEST_WHOLE_TRAINING}',
        'segmentor_profile': f'{_SEGMENTOR} --sizes 512,683 {_PEERS} --profile --no-training --rounds 1',
        'export': 'export',
        'export_modes': 'export upernet_mambavision_t_shapes --sizes 128,128 --rounds 15 --inductor '
                        '--modes default reduce-overhead max-autotune max-autotune-no-cudagraphs',
    },
    cuda={
        'roofline': 'roofline --dtypes float32 bfloat16 float16',
        'scan': 'scan --shapes 128,196,160 128,49,320 2,4200,160 1,12544,160 1,65536,160 --dtypes float32 bfloat16',
        'scan_tokens': 'scan --dtypes bfloat16 --sweep tokens --values 256 1024 4200 16384 65536',
        'mixer': 'mixer --amp none bf16',
        # The first setting does what the published code does: its padding, mamba-ssm's scan, nothing fused.
        'backbone': 'backbone --sizes 224,224 --batch 1 128 --paddings zeros fit --backends mamba_ssm auto --amp bf16',
        'backbone_base': 'backbone --archs base --sizes 224,224 --batch 128 --paddings zeros fit '
                         '--backends mamba_ssm auto --amp bf16',
        'backbone_detection': 'backbone --sizes 800,1344 --batch 2 --windows 112,56 --paddings zeros fit '
                              '--backends mamba_ssm auto --amp bf16',
        'backbone_detection_base': 'backbone --archs base --sizes 800,1344 --batch 2 --windows 112,56 '
                                   '--paddings zeros fit --backends mamba_ssm auto --amp bf16',
        'backbone_512': 'backbone --sizes 512,512 --batch 8 --paddings zeros fit --backends mamba_ssm auto --amp bf16',
        'peers': 'backbone --sizes 224,224 --batch 128 --paddings fit --amp none bf16 --peers',
        'peers_detection': 'backbone --sizes 800,1344 --batch 2 --paddings fit --windows 14,7 112,56 --amp bf16 '
                           '--peers',
        'variants': 'backbone --sizes 224,224 --batch 1 128 --paddings fit --amp bf16 --channels-last --fuse --compile '
                    '--cuda-graphs --no-training',
        'profile': 'backbone --sizes 224,224 --batch 128 --paddings fit --amp bf16 --profile --no-training',
        'compiled': 'backbone --sizes 224,224 --batch 128 --paddings fit --amp bf16 --compile',
        'detector': f'detector {_DETECTORS} --amp none fp16 bf16',
        'detector_profile': f'{_DETECTOR} --amp bf16 --profile --no-training --rounds 1',
        'segmentor': f'segmentor {_SEGMENTORS} --train-batch 1 --amp none fp16 bf16 --compile',
        'segmentor_4': f'segmentor {_SEGMENTORS} --train-batch 4 --amp fp16 bf16',
        'segmentor_profile': f'{_SEGMENTOR} --amp bf16 --profile --no-training --rounds 1',
        'large3': f'segmentor {_LARGE3} --amp none bf16',
        'large3_checkpointing': f'segmentor {_LARGE3} --amp none bf16 --cfg-options model.backbone.with_cp=True',
    })
