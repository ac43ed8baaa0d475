"""A web page on which a model is tried out: `tools/demo_app.py`. Needs gradio, the extra 'app'."""
