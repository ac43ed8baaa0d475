"""A saved model pushed to the Hugging Face Hub, by its own library."""
import re
from collections.abc import Callable
from pathlib import Path

from ..checkpoints import hub as hub_files
from ..errors import ConfigError, UserError
from ..installation import explaining
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
        ConfigError: no token, or a repository that holds something already. CheckpointError: the Hub refuses, or can't
            be reached.
    """
    if not isinstance(repo, str) or not _REPO.fullmatch(repo):
        raise ConfigError(f"'{shown(repo)}': expected a repository, OWNER/NAME")
    with explaining('pushing to the Hub'):
        import huggingface_hub as hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    if not hub.get_token():
        raise ConfigError(f'{repo}: pushing needs a token that may write: log in with `hf auth login`, or set HF_TOKEN '
                          'in the environment')
    url = f'{hub.constants.ENDPOINT}/{repo}'
    with hub_files.explained(hub, hub_files.Reference(repo)):
        api = hub.HfApi(library_name='mmvision_mamba')
        there = _files(api, repo)
        if there and not yes:
            raise ConfigError(f'{url} holds files already: {shortened(there, 4)}.\nTo replace those of the same names: '
                              'yes=True (--yes)')
        folder = save()
        api.create_repo(repo, private=private, exist_ok=True)
        _upload(api, repo, folder)
    return url


def _upload(api, repo: str, folder: Path) -> None:
    try:
        api.upload_folder(repo_id=repo, folder_path=folder, allow_patterns=[*FILES],
                          commit_message='Model saved by mmvision_mamba')
    except RuntimeError as error:  # the library's for a file that it could not upload; the cause says why
        if isinstance(error, UserError) or error.__cause__ is None:
            raise
        raise error.__cause__ from None


def _files(api, repo: str) -> list[str]:
    """The files of a repository; none where there is no such repository."""
    from huggingface_hub.errors import RepositoryNotFoundError
    try:
        return sorted({file.rfilename for file in api.model_info(repo).siblings or ()} - _LEAST)
    except RepositoryNotFoundError:
        return []
