"""Timings of scans, mixers, backbones and models. Values of options stand here, so that --help imports no more."""
DTYPES = ('float32', 'bfloat16', 'float16')
AMP = dict(none=None, bf16='bfloat16', fp16='float16')  # value of --amp -> dtype that autocast computes in
PEERS = ('swin-t', 'swin-t-timm', 'convnext-t', 'resnet-50')  # other backbones
# Those under the heads of whole models; the other Swin-T takes maps of one size alone.
PEERS_WITH_HEADS = ('swin-t', 'convnext-t', 'resnet-50')
