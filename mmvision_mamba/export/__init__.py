"""Export to formats that run elsewhere. The options' choices stand here, so that `--help` imports nothing heavy."""
FORMATS = {'onnx': '.onnx', 'torch-export': '.pt2', 'aot-inductor': '.pt2', 'torchscript': '.pt',
           'openvino': '.xml', 'mnn': '.mnn'}
OF_ONNX = 'onnx', 'openvino', 'mnn'  # those made of the ONNX graph
REPOSITORY = 'triton-repository'  # a folder of several files, see `triton`
BATCH = 8  # images that go through its network together
OPSET = 17  # the first with LayerNormalization; most runtimes support it
PARTS = ('backbone', 'segmentor', 'detector')
OUTPUTS = ('map', 'logits')
INT8_KINDS = ('static', 'dynamic', 'weights')
INT8_IMAGES = 32, 100  # for calibration, for the test
