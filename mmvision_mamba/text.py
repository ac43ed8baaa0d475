"""Wording that messages and tables share: suggestions, shortened lists, unknown names, aligned columns."""
import difflib
from collections.abc import Collection, Iterable, Sequence

from .errors import ConfigError
from .printable import shown


def did_you_mean(name: object, valid: Iterable[str]) -> str:
    """' (did you mean …?)' where a valid name is close to `name`, else ''."""
    close = difflib.get_close_matches(shown(name), map(shown, valid), n=1)
    return f' (did you mean {close[0]!r}?)' if close else ''


def check_names(names: Iterable[str], valid: Collection[str], complaint: str,
                error: type[Exception] = ConfigError) -> None:
    """Raise `error` for the first name that is not valid.

    The message reads "COMPLAINT 'nmae' (did you mean 'name'?); valid ones: …", so `complaint` is the beginning of a
    sentence such as "init_cfg has no key".
    """
    for name in names:
        if name not in valid:
            raise error(f"{complaint} '{shown(name)}'{did_you_mean(name, valid)}; valid ones: "
                        f"{', '.join(map(shown, valid)) or 'none'}")


def shortened(names: Collection, most: int = 8) -> str:
    """The names joined by commas; where there are more than `most`, 'a, b, … (12 in all)'."""
    listed = ', '.join(shown(name) for _, name in zip(range(most), names))
    return listed + (f', … ({len(names)} in all)' if len(names) > most else '')


def duration(seconds: float) -> str:
    """A time in words, by its two largest units: '3 hours 25 minutes'."""
    left, words = max(round(seconds), 0), []
    for unit, length in (('day', 86400), ('hour', 3600), ('minute', 60), ('second', 1)):
        number, left = divmod(left, length)
        if number:
            words.append(f'{number} {unit}{"s" * (number != 1)}')
        elif words:
            break
    return ' '.join(words[:2]) or '0 seconds'


def class_name(type_: object) -> str:
    """The class's name in a config's `type`: 'CheckpointHook' of 'mmengine.CheckpointHook', or of the class itself."""
    return type_.rsplit('.', 1)[-1] if isinstance(type_, str) else getattr(type_, '__name__', '')


def without_templates(config: str) -> str:
    """The text of a config file, in Python or JSON, with the same values, and no `{{` in its strings.

    mmengine replaces templates before it reads a file, so that a class called '{{$A:…}}' could become code.
    """
    return config.replace('{{', r'{\u007b')


def as_text(titles: Sequence[str], rows: Sequence[Sequence[str]], left: int = 2) -> str:
    """A text table: columns under their titles, the first `left` aligned to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(titles, *rows)]
    return '\n'.join('  '.join(text.ljust(width) if i < left else text.rjust(width)
                               for i, (text, width) in enumerate(zip(line, widths))).rstrip()
                     for line in [titles, *rows])
