"""The web page itself, in Gradio. It loads nothing from other servers and sends no usage statistics."""
from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Sequence
from html import escape
from importlib.util import find_spec
from pathlib import Path

from ..errors import ConfigError, MissingExtraError, UserError

# Gradio reads these when it is imported.
os.environ.setdefault('GRADIO_ANALYTICS_ENABLED', 'False')
os.environ.setdefault('HF_HUB_DISABLE_TELEMETRY', '1')
if find_spec('gradio') is None:
    raise MissingExtraError('the web page', 'app')

import gradio as gr

from ..inference import Inferencer
from ..visualization.backbone_maps import BackboneMaps
from . import boundary
from .answers import LOWEST_SCORE, Answer, load_image, looks_otherwise
from .downloads import write_picture, write_results
from .maps import maps_html
from .model_facts import model_facts
from .uploads import EVERY, own_folder, sweep

STATE_SECONDS = 1800  # an answer is forgotten after that long
WELCOME = 'Upload a picture, or pick an example.'
SESSIONS = 50  # most sessions whose answer is kept
CSS = '''
#picture img {object-fit: contain; max-height: 75vh}
.facts {font-size: 0.9em} .facts b {font-weight: 600}
.notice {padding: 0.8em 1em; border-radius: 8px; border: 1px solid #999}
.notice.error {border: 2px solid #c62828; background: #fdecea; color: #7f1d1d; font-weight: 600}
.maps {display: grid; gap: 1.2em; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr))}
.maps figure {margin: 0} .maps img {width: 100%; image-rendering: pixelated}
.maps .bar {height: 0.9em; margin-top: 0.3em} .maps .numbers {display: flex; justify-content: space-between}
.maps .flat {padding: 2em 1em; text-align: center; border: 1px dashed #999}
@media (max-width: 760px) {
  #columns {display: flex; flex-direction: column}
  #inputs, #outputs, #controls {width: 100%; min-width: 0 !important}
  #inputs {display: contents}
  #upload {order: 1; height: 240px !important} #seen {order: 2} #status {order: 3} #outputs {order: 4}
  #controls {order: 5}
}
'''
# Gradio refuses files past `max_file_size` with a message that fades, at the edge of the page. This script takes them
# first and tells the hidden field #refused their name and size, so that the page can say it where the picture would be.
REFUSE_LARGE = '''
() => {
  const refuse = event => {
    const field = document.querySelector('#refused textarea, #refused input');
    const files = event.target.files ?? (event.dataTransfer ?? event.clipboardData)?.files ?? [];
    const large = [...files].find(file => file.size > MOST);
    if (!field || !large || !event.target.closest?.('#upload')) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    if (event.type === 'change') event.target.value = '';  // so that the same file can be chosen again
    field.value = JSON.stringify([large.name, large.size, MOST, Date.now()]);
    field.dispatchEvent(new Event('input', {bubbles: true}));
  };
  for (const type of ['change', 'drop', 'paste']) window.addEventListener(type, refuse, true);
}
'''


def build_page(models: dict[str, Inferencer], examples: Sequence[str | os.PathLike] = (), max_pixels: int = 40_000_000,
               max_side: int = 1600, score_thr: float = 0.3) -> gr.Blocks:
    """The page; `.launch()` serves it.

    Args:
        models: name of a task, as the page shows it, -> its model.
        examples: images to pick from. Default: none.
        max_pixels: most pixels of an upload. Default: 40 million.
        max_side: longest side in pixels; a larger upload is scaled down for the model. Default: 1600.
        score_thr: initial position of the slider, `LOWEST_SCORE` at least. Default: 0.3.
    """
    tasks = list(models)
    os.environ['GRADIO_TEMP_DIR'] = str(own_folder())  # read by each component, and by the server

    def about(task):
        facts = ''.join(f'<div><b>{escape(what)}</b>: {escape(text)}</div>' for what, text in model_facts(models[task]))
        return f'<div class="facts">{facts}</div>'

    def answer(path, task):
        """-> answer, what the model sees, status line, class filter, selected number, notice, threshold."""
        hidden, empty = gr.update(value=None, visible=False), gr.update(choices=[], value=[])
        if path is None:
            return None, hidden, '', empty, None, _shown(_notice(WELCOME)), gr.skip()
        try:
            new = Answer(models[task], *load_image(path, models[task], max_pixels, max_side))
        except UserError as error:
            return None, hidden, '', empty, None, _shown(_problem(error, models[task])), gr.skip()
        status = f'{Path(path).name}: {_size(new.image, new.scale)}, {1000 * new.seconds:.0f} ms on {new.model.device}'
        if new.scale < 1:
            status += f'; scaled down to {_size(new.image)} for the model'
        otherwise = new.model.toolbox.bands is not None or looks_otherwise(path)
        visible = gr.update(value=new.shown[..., ::-1], visible=True) if otherwise else hidden
        return (new, visible, escape(status), gr.update(choices=new.found, value=[]), None, _shown(''),
                gr.update(visible=new.has_scores))

    def refuse(told):
        """-> notice, of a file that is too large; the picture before it stays."""
        name, size, most, _ = json.loads(told)  # checked, as all values are, in `boundary`
        size, most = size / 2**20, most / 2**20
        return _shown(_notice(f'{name}: {size:.1f} MB are more than the {most:.3g} MB that this page takes; scale it '
                              'down first', 'error'))

    def show(current, threshold, classes, selected):
        """-> picture, table, notice."""
        if current is None:
            return None, gr.update(headers=['class'], value=[]), gr.skip()
        titles, rows = current.table(threshold, classes)
        if selected not in [row[0] for row in rows]:
            selected = None
        return (current.picture(threshold, classes, selected), gr.update(headers=list(titles), value=rows),
                _shown(_notice(current.nothing(threshold, classes))))

    def files(current, path, threshold, classes):
        """-> the files to download."""
        if current is None or path is None:
            return gr.update(value=[], visible=False)
        folder, name = _folder(downloads), Path(path).name
        paths = [write_picture(current.picture(threshold, classes), folder, f'{Path(name).stem}_prediction')]
        return gr.update(value=[str(file) for file in paths + write_results(current, folder, name)], visible=True)

    def select_row(current, event: gr.SelectData):
        return int(event.row_value[0]) if current is not None and event.row_value else None

    def select_place(current, threshold, classes, event: gr.SelectData):
        """The number of what lies at the place that was clicked in the picture."""
        return current and current.number_at(*event.index, threshold, classes)

    def maps(current, point=None):
        """-> pictures, caption."""
        if current is None:
            return '', 'No image yet.'
        try:
            pictures = maps_html(BackboneMaps(current.model, current.image), point)
        except UserError as error:
            return '', _problem(error, current.model)
        return pictures, ('Averaged over all places. Click the uploaded image to see what a place looks at.'
                          if point is None else f'What the place at {point[0]:g}, {point[1]:g} looks at.')

    def maps_of_point(current, event: gr.SelectData):
        return maps(current, current and current.point(*event.index))

    picks: dict[gr.components.Component, boundary.Check] = {}
    busy = dict(concurrency_id='model', concurrency_limit=1)
    with boundary.CheckedBlocks(title='mmvision_mamba', analytics_enabled=False) as page:
        gr.Markdown('# mmvision_mamba')
        facts = gr.HTML(about(tasks[0]), elem_id='facts')
        current = gr.State(time_to_live=STATE_SECONDS)  # the `Answer` of the session
        selected = gr.State()  # the number of a row
        with gr.Row(elem_id='columns'):
            with gr.Column(scale=2, min_width=280, elem_id='inputs'):
                upload = gr.Image(type='filepath', sources=['upload', 'clipboard'], label='Image', height=340,
                                  elem_id='upload', buttons=['fullscreen'])
                # The file as it is: `load_image` reports what is broken or too large, not Gradio's decoder. (It has to
                # be no output of any event: for these, Gradio makes components anew.)
                upload.preprocess = lambda payload: payload and payload.path
                seen = gr.Image(label='As the model sees it', interactive=False, height=240,
                                elem_id='seen', format='png', visible=False, buttons=[])
                refused = gr.Textbox(visible='hidden', elem_id='refused')
                status = gr.HTML(elem_id='status')
                with gr.Column(elem_id='controls'):
                    task = gr.Radio(tasks, value=tasks[0], label='Task', elem_id='task', visible=len(tasks) > 1)
                    threshold = gr.Slider(LOWEST_SCORE, 1, max(score_thr, LOWEST_SCORE), step=0.01,
                                          elem_id='threshold', label='Score threshold (instances)',
                                          visible=any(model.scope == 'mmdet' for model in models.values()))
                    classes = gr.Dropdown([], multiselect=True, label='Only these classes', elem_id='classes')
                    if examples:
                        dataset = gr.Examples([[str(path)] for path in examples], [upload], label='Examples',
                                              examples_per_page=12).dataset
                        picks[dataset] = lambda value: boundary.is_choice(value, len(examples))
            with gr.Column(scale=3, min_width=320, elem_id='outputs'), gr.Tabs():
                with gr.Tab('Prediction', elem_id='prediction-tab'):
                    notice = gr.HTML(_notice(WELCOME), elem_id='notice')
                    picture = gr.Image(show_label=False, interactive=False, elem_id='picture', format='png',
                                       buttons=['download', 'fullscreen'])
                    table = gr.Dataframe(headers=['class'], interactive=False, elem_id='table', max_height=320,
                                         label='What was found: select a row, or click in the picture, to see it alone')
                    everything = gr.Button('Show all again', elem_id='all', size='sm')
                    downloads = gr.Files(label='Downloads: the picture, and the results as mmvision-mamba infer writes',
                                         interactive=False, elem_id='downloads', visible=False)
                with gr.Tab('Attention', elem_id='attention-tab') as attention:
                    caption = gr.HTML('No image yet.', elem_id='about')
                    pictures = gr.HTML(elem_id='maps')
        view = dict(fn=show, inputs=[current, threshold, classes, selected], outputs=[picture, table, notice], **busy)
        offer = dict(fn=files, inputs=[current, upload, threshold, classes], outputs=downloads, **busy)
        task.change(about, task, facts)
        refused.change(refuse, refused, notice)
        for event in (upload.change, task.change):
            # The page shows a new answer at once, but computes its maps only when their tab is opened.
            event(answer, [upload, task],
                  [current, seen, status, classes, selected, notice, threshold], **busy).then(
                **view).then(**offer).then(
                lambda: ('', 'Open this tab anew, or click the uploaded image.'), None, [pictures, caption])
        for event in (threshold.release, classes.input):
            event(**view).then(**offer)
        table.select(select_row, current, selected).then(**view)
        picture.select(select_place, [current, threshold, classes], selected).then(**view)
        everything.click(lambda: None, None, selected).then(**view)
        attention.select(maps, [current], [pictures, caption], **busy)
        upload.select(maps_of_point, [current], [pictures, caption], **busy)
    page.value_checks = {upload: lambda value: boundary.is_upload(value, upload.GRADIO_CACHE),
                         refused: boundary.is_told, task: boundary.is_text, threshold: boundary.is_score,
                         classes: boundary.are_texts, **picks}
    page.event_checks = dict(select_row=boundary.is_row, select_place=boundary.is_place,
                             maps_of_point=boundary.is_place)
    return page


def _notice(text: str, kind: str = '') -> str:
    """A message where the picture is expected; nothing for ''."""
    return f'<div class="notice {kind}" role="status">{escape(text)}</div>' if text else ''


def _problem(error: UserError, model: Inferencer) -> str:
    """A message of what a model refuses; of an exported file's path, which it may name, the last part alone."""
    path = getattr(model.model, 'path', None)
    return _notice(str(error) if path is None else str(error).replace(str(path), Path(path).name), 'error')


def _shown(html: str) -> dict:
    """The update of an HTML component that takes no room where it is empty."""
    return gr.update(value=html, visible=bool(html))


def _size(image, scale: float = 1.) -> str:
    height, width = (round(side / scale) for side in image.shape[:2])
    return f'{width} × {height} pixels'


def _folder(component: gr.components.Component) -> Path:
    """A new folder in a component's cache, whose files Gradio serves."""
    cache = Path(component.GRADIO_CACHE)
    cache.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=cache))


def serve(page: gr.Blocks, host: str, port: int, max_bytes: int) -> str:
    """Start serving the page in a thread of its own; returns its address.

    Args:
        page: from `build_page`.
        host, port: where to listen; port 0: any free port.
        max_bytes: largest upload.

    Raises:
        OSError: it can't listen there.
        ConfigError: this machine does not reach it.
    """
    if not port:
        with socket.create_server((host, 0)) as free:
            port = free.getsockname()[1]
    page.queue(max_size=32)
    try:
        _, address, _ = page.launch(
            server_name=host, server_port=port, share=False, max_file_size=max_bytes, ssr_mode=False, quiet=True,
            inbrowser=False, footer_links=[], run_history=False, enable_monitoring=False,
            state_session_capacity=SESSIONS, prevent_thread_lock=True, css=CSS,
            theme=gr.themes.Default(font=['system-ui', 'sans-serif'], font_mono=['monospace']),
            js=REFUSE_LARGE.replace('MOST', str(max_bytes)))
    except ValueError as error:  # Gradio looks at its own page
        page.close()
        raise ConfigError(f'port {port} of this machine does not answer within 3 seconds.\nIf a proxy is set in the '
                          'environment, set NO_PROXY=localhost,127.0.0.1 too; else try again') from error
    threading.Thread(target=_keep_swept, args=(page,), daemon=True).start()
    return address


def _keep_swept(page: gr.Blocks) -> None:
    """Sweep the folder of uploads while the page is served; Gradio knows of none that broke off."""
    examples = {path for block in page.blocks.values() for path in getattr(block, 'keep_in_cache', ())}
    while page.is_running:
        sweep(own_folder(), examples)
        time.sleep(EVERY)
