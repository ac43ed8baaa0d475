"""A web page to try a model on: `mmvision-mamba demo-app`. Needs gradio, the extra 'app'."""
