"""Bounded reading of the small files of annotation formats: text, YAML, XML and JSON; nothing in them expands."""
import json
from functools import lru_cache
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from ...errors import DataError
from ...files import read_bytes, read_text
from ...limits import LABEL_BYTES
from ...printable import shown

YAML_BYTES = 2**20  # its parser takes ten seconds for as much
_DEPTH = 20  # of elements in elements; annotations have four
_ELEMENTS = 2_000_000


class Unreadable(Exception):
    """Why a file can't be read, as a phrase without its name."""


def read_label_text(path: str) -> str:
    """Text of a file of annotations; raises Unreadable."""
    try:
        return read_text(path, LABEL_BYTES.value)
    except UnicodeDecodeError as error:
        raise Unreadable(f'it is no text in UTF-8 ({error.reason} at byte {error.start})') from None
    except OSError as error:
        raise Unreadable(f'it cannot be read ({error.strerror or error})') from None


def read_label_json(path: str):
    """Content of a JSON file of annotations; raises Unreadable."""
    try:
        return json.loads(read_label_text(path))
    except json.JSONDecodeError as error:
        raise Unreadable(f'it is no JSON: {error.msg} in line {error.lineno}') from None
    except (RecursionError, ValueError):
        raise Unreadable('it is nested too deeply, or has a number of thousands of digits') from None


def read_xml(path: str) -> Element:
    """The root of an XML file, without namespaces' or entities' help; raises Unreadable."""
    builder, parser = TreeBuilder(), expat.ParserCreate()
    depth = elements = 0

    def start(name, attributes):
        nonlocal depth, elements
        depth, elements = depth + 1, elements + 1
        if depth > _DEPTH or elements > _ELEMENTS:
            raise Unreadable(f'it has more than {_DEPTH} elements in each other, or {_ELEMENTS:,} in all')
        builder.start(name, attributes)

    def end(name):
        nonlocal depth
        depth -= 1
        builder.end(name)

    def refuse(*_):
        raise Unreadable('it declares a document type or entities, which annotations have no use for')

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(read_bytes(path, LABEL_BYTES.value), True)
        return builder.close()
    except OSError as error:
        raise Unreadable(f'it cannot be read ({error.strerror or error})') from None
    except (expat.ExpatError, AssertionError, ValueError, LookupError) as error:
        raise Unreadable(f'it is no XML ({shown(error, 100)})') from None


def read_yaml(path: str) -> dict:
    """The mapping in a YAML file; all values are text, and there are no references.

    Raises:
        DataError: it can't be read, or holds something else.
    """
    try:
        text = read_text(path, YAML_BYTES)
    except (OSError, UnicodeError) as error:
        raise DataError(f'{path}: it cannot be read ({getattr(error, "strerror", None) or error})') from error
    try:
        content = _mapping(text)
    except ValueError as error:
        raise DataError(f'{path}: it is no YAML that can be read ({shown(error, 200)})') from error
    if not isinstance(content, dict):
        raise DataError(f'{path}: expected keys and values, such as names: [cat, dog]')
    return content


@lru_cache(maxsize=4)  # each split of a data set asks for the same file
def _mapping(text: str):
    """The content of a YAML document; raises ValueError."""
    import yaml  # of mmengine's dependencies

    class Loader(yaml.loader.BaseLoader):
        def compose_node(self, parent, index):
            if self.check_event(yaml.events.AliasEvent):
                raise yaml.YAMLError('it has references (*), which grow when they are followed')
            return super().compose_node(parent, index)

    try:
        return yaml.load(text, Loader)  # which is a safe one: it makes text alone
    except (yaml.YAMLError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(error) from None
