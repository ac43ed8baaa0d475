"""The commands whose results docs/performance.md quotes, by device and by the name of the results."""
_DETECTORS = ' '.join(f'cascade_mask_rcnn_mambavision_{name}_coco' for name in ('t', 't_fit'))
_SEGMENTORS = ' '.join(f'upernet_mambavision_{name}_ade20k' for name in ('t', 't_fit'))
_LARGE3 = 'upernet_mambavision_l3_ade20k-640x640 --sizes 640,640 --train-batch 1'

PLAN = dict(
    cpu={
        'roofline': 'roofline --dtypes float32 bfloat16',
        'scan': 'scan',
        'scan_tokens': 'scan --backends chunked --sweep tokens --values 256 1024 4200 16384 65536',
        'mixer': 'mixer',
        'backbone': 'backbone --sizes 224,224 512,512 --batch 1',
        'backbone_detection': 'backbone --sizes 800,1344 --windows 14,7 112,56 --no-training',
        'side': 'backbone --sweep side --values 512 1024 2048 --paddings fit --windows 14,7 --no-training',
        'peers': 'backbone --sizes 512,512 800,1344 --paddings fit --windows 14,7 112,56 --peers --fuse '
                 '--no-training',
        'peers_training': 'backbone --sizes 512,512 --paddings fit --windows 14,7 --peers',
        'variants': 'backbone --sizes 512,512 --paddings fit --channels-last --compile --amp none bf16 --no-training',
        'profile': 'backbone --sizes 512,512 800,1344 --paddings fit --windows 112,56 --profile --no-training',
        'detector': 'detector --rounds 3',
        'segmentor': 'segmentor --rounds 3',
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
        'peers': 'backbone --sizes 224,224 --batch 128 --paddings fit --amp none bf16 --peers',
        'peers_detection': 'backbone --sizes 800,1344 --batch 2 --paddings fit --windows 14,7 112,56 --amp bf16 '
                           '--peers',
        'variants': 'backbone --sizes 224,224 --batch 1 128 --paddings fit --amp bf16 --channels-last --fuse --compile '
                    '--cuda-graphs --no-training',
        'profile': 'backbone --sizes 224,224 --batch 128 --paddings fit --amp bf16 --profile --no-training',
        'detector': f'detector {_DETECTORS} --amp none fp16 bf16',
        'segmentor': f'segmentor {_SEGMENTORS} --train-batch 1 --amp none fp16 bf16 --compile',
        'segmentor_4': f'segmentor {_SEGMENTORS} --train-batch 4 --amp fp16 bf16',
        'large3': f'segmentor {_LARGE3} --amp none bf16',
        'large3_checkpointing': f'segmentor {_LARGE3} --amp none bf16 --cfg-options model.backbone.with_cp=True',
    })
