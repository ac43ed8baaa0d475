"""What the page's functions are called with, checked before any of them runs: anyone can call them without the page."""
from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import gradio as gr

Check: TypeAlias = Callable[[Any], bool]

_FURTHEST = 10**6  # pixels, and rows
_TOLD = 10_000  # characters
_FILE: dict[str, type] = dict(url=str, orig_name=str, mime_type=str, size=int, is_stream=bool)


class CheckedBlocks(gr.Blocks):
    """A page that answers calls of its functions with values which it doesn't send itself by a line.

    Attributes:
        value_checks: whether a value may be one of a component that is an input of functions.
        event_checks: whether that may be told of an event, by the name of the function that gets it.
    """

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.value_checks: Mapping[gr.components.Component, Check] = {}
        self.event_checks: Mapping[str, Check] = {}

    async def process_api(self, block_fn: Any, inputs: list[Any], *args: Any, event_data: Any = None,
                          **options: Any) -> dict[str, Any]:
        """Gradio's, through which all calls of functions go."""
        function = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        checks = {component._id: check for component, check in self.value_checks.items()}
        event = self.event_checks.get(function.name)
        if len(inputs) < len(function.inputs) or not all(
                checks[block._id](value) for block, value in zip(function.inputs, inputs) if block._id in checks) or (
                event is not None and not event(getattr(event_data, '_data', None))):
            raise gr.Error(f'{function.name}: this page sends no such values', print_exception=False)
        try:
            return await super().process_api(block_fn, inputs, *args, event_data=event_data, **options)
        except gr.Error as error:  # of its components, for what is no choice or out of range
            error.print_exception = False
            raise


def is_upload(value: Any, cache: str | os.PathLike) -> bool:
    """Whether it is what Gradio says of a file in its cache, as uploads and examples are, or none.

    Gradio itself asks where a file lies of those values alone that say that they are files, and would download a URL.

    Args:
        value: any.
        cache: the folder, of the component.
    """
    if value is None:
        return True
    path = value.get('path') if isinstance(value, dict) else None
    if not is_text(path) or '\0' in path or value.get('meta') != {'_type': 'gradio.FileData'} or not all(
            isinstance(item, _FILE.get(key, object)) or (item is None and key != 'is_stream')
            for key, item in value.items()):
        return False
    try:
        return os.path.realpath(path).startswith(os.path.join(os.path.realpath(cache), ''))
    except (OSError, ValueError):  # lone surrogates, links without end
        return False


def is_choice(value: Any, number: int) -> bool:
    """Whether it is one of so many examples, or none."""
    return value is None or (type(value) is int and 0 <= value < number)


def is_score(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def are_texts(value: Any) -> bool:
    """Whether it is a list of texts, or none."""
    return value is None or (isinstance(value, list) and all(map(is_text, value)))


def is_told(value: Any) -> bool:
    """Whether it is what the page tells of a file that is too large: JSON of its name, its bytes, the most, a time."""
    try:
        told = json.loads(value) if isinstance(value, str) and len(value) < _TOLD else None
    except (ValueError, RecursionError):
        return False
    return isinstance(told, list) and len(told) == 4 and is_text(told[0]) and all(map(_is_number, told[1:]))


def is_place(event: Any) -> bool:
    """Whether it is the selection of a place in a picture."""
    return _is_selection(event) and len(event['index']) == 2 and all(
        _is_number(side) and abs(side) < _FURTHEST for side in event['index'])


def is_row(event: Any) -> bool:
    """Whether it is the selection of a row, whose first value is a number, or of none."""
    row = event.get('row_value') if _is_selection(event) else 0
    if not row:
        return row in (None, [])
    first = row[0] if isinstance(row, list) else None
    return (_is_number(first) and 0 <= first < _FURTHEST) or (
        isinstance(first, str) and first.isascii() and first.isdecimal() and len(first) < 7)


def _is_selection(event: Any) -> bool:
    return isinstance(event, dict) and isinstance(event.get('index'), list) and 'value' in event


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 2**53 and math.isfinite(value)
