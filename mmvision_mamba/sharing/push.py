"""A saved model pushed to the Hugging Face Hub, by its own library."""
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from ..checkpoints.hub import Reference, Repository, library, problem_of
from ..downloads import DownloadError
from ..errors import CheckpointError, ConfigError
from ..printable import shown
from ..text import shortened
from .folder import FILES

_REPO = re.compile(r'[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*', re.ASCII)
_LEAST = {'.gitattributes'}  # what the Hub itself puts into a new repository


def push(repo: str, save: Callable[[], Path], private: bool = False, yes: bool = False) -> str:
    """Push a folder to a repository, which is made where there is none.

    Args:
        repo: 'OWNER/NAME'.
        save: writes the folder; called when it is known that it may be pushed.
        private: make the repository a private one. Default: False.
        yes: replace files of the same names, where there are some. Default: False.

    Returns:
        The URL of the repository.

    Raises:
        ConfigError: no token, or a repository that holds something already. CheckpointError: HF_ENDPOINT is of plain
            http; the Hub refuses, or can't be reached.
    """
    if not isinstance(repo, str) or not _REPO.fullmatch(repo):
        raise ConfigError(f"'{shown(repo)}': expected a repository, OWNER/NAME")
    hub = library()
    if not hub.get_token():
        raise ConfigError(f'{repo}: pushing needs a token that may write: log in with `hf auth login`, or set HF_TOKEN '
                          'in the environment')
    url = f'{hub.constants.ENDPOINT}/{repo}'
    there = _files(repo)
    if there and not yes:
        raise ConfigError(f'{url} holds files already: {shown(shortened(there, 4))}.\nTo replace those of the same '
                          'names: yes=True (--yes)')
    folder = save()
    with _explained(hub, repo):
        api = hub.HfApi(library_name='mmvision_mamba')
        api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder, allow_patterns=[*FILES],
                          commit_message='Model saved by mmvision_mamba')
    return url


def _files(repo: str) -> list[str]:
    """The files of a repository; none where there is no such repository."""
    repository = Repository(Reference(repo))
    try:
        return sorted({*repository.listed('main')[1]} - _LEAST)
    except DownloadError as error:
        if error.status in (401, 404) and error.headers.get('X-Error-Code') in (None, 'RepoNotFound'):
            return []
        raise CheckpointError(f'{Reference(repo)}: {repository.problem(error)}') from None


@contextmanager
def _explained(hub: ModuleType, repo: str) -> Iterator[None]:
    """Say in a line or two what the library raises, whose own messages are long, and repeat what the server says."""
    try:
        yield
    except Exception as error:
        # RuntimeError is the library's for a file that it could not upload; the cause says why.
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ is not None else error
        response = getattr(cause, 'response', None)
        problem = _reason(hub, cause) if response is None else problem_of(
            hub.constants.ENDPOINT, Reference(repo), response.status_code, response.headers.get('X-Error-Code'))
        raise CheckpointError(f'{Reference(repo)}: {problem}') from None


def _reason(hub: ModuleType, error: BaseException) -> str:
    """What an error says, without the token."""
    if isinstance(error, LookupError | TypeError | AttributeError | RecursionError):  # the library's, of odd answers
        return f'{hub.constants.ENDPOINT} answers as no Hub does ({type(error).__name__})'
    inner = error
    for _ in range(20):  # an HTTP client wraps what the system says several times
        inner = inner.__cause__ or inner.__context__ or inner
    said = getattr(error, 'strerror', None) or getattr(inner, 'strerror', None) or str(error)
    text = str(said).strip().partition('\n')[0]
    token = hub.get_token()
    return f"it can't be pushed ({type(error).__name__}: {shown(text.replace(token, '***') if token else text)})"
