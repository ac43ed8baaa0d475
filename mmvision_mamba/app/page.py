"""The web page itself, in Gradio. It loads nothing from other servers and sends no usage statistics."""
from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ..errors import MissingExtraError, UserError

# Gradio reads these when it is imported.
os.environ.setdefault('GRADIO_ANALYTICS_ENABLED', 'False')
os.environ.setdefault('HF_HUB_DISABLE_TELEMETRY', '1')
if find_spec('gradio') is None:
    raise MissingExtraError('the web page', 'app')

import gradio as gr

from ..inference import Inferencer
from .answers import LOWEST_SCORE, Answer, load_image

STATE_SECONDS = 1800  # an answer is forgotten after that long
SESSIONS = 50  # most sessions whose answer is kept
CSS = '''
#maps img {image-rendering: pixelated}
#picture img, #maps img {object-fit: contain}
'''


def build_page(models: dict[str, Inferencer], examples: Sequence[str | os.PathLike] = (), max_pixels: int = 40_000_000,
               max_side: int = 1600, score_thr: float = 0.3) -> gr.Blocks:
    """The page; `.launch()` serves it.

    Args:
        models: name of a task, as the page shows it, -> its model.
        examples: images to pick from. Default: none.
        max_pixels: most pixels of an upload. Default: 40 million.
        max_side: longest side in pixels; a larger upload is scaled down. Default: 1600.
        score_thr: initial position of the slider. Default: 0.3.
    """
    tasks = list(models)

    def answer(path, task):
        """-> answer, status line."""
        if path is None:
            return None, ''
        try:
            model = models[task]
            new = Answer(model, *load_image(path, model, max_pixels, max_side))
        except UserError as error:
            return None, f'⚠ {error}'
        height, width = new.image.shape[:2]
        return new, f'{Path(path).name}: {width} × {height} pixels, {1000 * new.seconds:.0f} ms on {new.model.device}'

    def show(current, threshold):
        """-> picture, table."""
        if current is None:
            return None, gr.update(headers=['class'], value=[])
        titles, rows = current.table(threshold)
        return current.picture(threshold), gr.update(headers=list(titles), value=rows)

    def maps(current, point=None):
        """-> pictures, caption."""
        if current is None:
            return [], 'No image yet.'
        try:
            pictures = current.maps(point)
        except UserError as error:
            return [], f'⚠ {error}'
        return pictures, ('Averaged over all places. Click the image on the left to see what a place looks at.'
                          if point is None else f'What the place at {point[0]:g}, {point[1]:g} looks at.')

    def maps_of_point(current, event: gr.SelectData):
        return maps(current, current and current.point(*event.index))

    busy = dict(concurrency_id='model', concurrency_limit=1)
    with gr.Blocks(title='mmvision_mamba', analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown('# mmvision_mamba')
        current = gr.State(time_to_live=STATE_SECONDS)  # the `Answer` of the session
        with gr.Row():
            with gr.Column(scale=2, min_width=280):
                upload = gr.Image(type='filepath', sources=['upload', 'clipboard'], label='Image', height=340,
                                  elem_id='upload', buttons=['fullscreen'])
                # The file as it is: `load_image` reports what is broken or too large, not Gradio's decoder.
                upload.preprocess = lambda payload: None if payload is None else payload.path
                task = gr.Radio(tasks, value=tasks[0], label='Task', elem_id='task', interactive=len(tasks) > 1)
                threshold = gr.Slider(LOWEST_SCORE, 1, score_thr, step=0.01, elem_id='threshold',
                                      label='Score threshold (instances)')
                status = gr.Markdown(elem_id='status')
                if examples:
                    gr.Examples([[str(path)] for path in examples], [upload], label='Examples', examples_per_page=12)
            with gr.Column(scale=3, min_width=320), gr.Tabs():
                with gr.Tab('Prediction', elem_id='prediction-tab'):
                    picture = gr.Image(label='Prediction', interactive=False, elem_id='picture', format='png',
                                       height=420, buttons=['download', 'fullscreen'])
                    table = gr.Dataframe(headers=['class'], interactive=False, elem_id='table', label='What was found',
                                         max_height=320)
                with gr.Tab('Attention', elem_id='attention-tab') as attention:
                    caption = gr.Markdown('No image yet.', elem_id='about')
                    gallery = gr.Gallery(show_label=False, elem_id='maps', columns=4, format='png', height=400,
                                         object_fit='contain', buttons=['download', 'fullscreen'])
        for event in (upload.change, task.change):
            # The page shows a new answer at once, but computes its maps only when their tab is opened.
            event(answer, [upload, task], [current, status], **busy).then(
                show, [current, threshold], [picture, table], **busy).then(
                lambda: ([], 'Open this tab anew, or click the image on the left.'), None, [gallery, caption])
        threshold.release(show, [current, threshold], [picture, table], **busy)
        attention.select(maps, [current], [gallery, caption], **busy)
        upload.select(maps_of_point, [current], [gallery, caption], **busy)
    return page


def serve(page: gr.Blocks, host: str, port: int, max_bytes: int) -> str:
    """Start serving the page in a thread of its own; returns its address.

    Args:
        page: from `build_page`.
        host, port: where to listen; port 0: any free port.
        max_bytes: largest upload.

    Raises:
        OSError: it can't listen there.
    """
    if not port:
        with socket.create_server((host, 0)) as free:
            port = free.getsockname()[1]
    page.queue(max_size=32)
    _, address, _ = page.launch(
        server_name=host, server_port=port, share=False, max_file_size=max_bytes, ssr_mode=False, quiet=True,
        inbrowser=False, footer_links=[], run_history=False, enable_monitoring=False, state_session_capacity=SESSIONS,
        prevent_thread_lock=True, theme=gr.themes.Default(font=['system-ui', 'sans-serif'], font_mono=['monospace']),
        css=CSS)
    return address
