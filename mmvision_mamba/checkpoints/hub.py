"""Files of repositories on the Hugging Face Hub, by its own library: its cache, its offline mode, its tokens.

`hf://OWNER/REPO[@REVISION][/FILE]`, `hf-hub:OWNER/REPO[@REVISION]` as timm writes it, and the Hub's own URLs,
`https://huggingface.co/OWNER/REPO/resolve/REVISION/FILE`, which work in anyone's config. That library waits for other
processes of this machine that download the same file, and reads HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE.
"""
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from ..downloads import is_this_machine
from ..errors import CheckpointError, UserError
from ..installation import explaining
from ..printable import shown
from ..text import shortened
from .shards import is_index, shards_of

# Of a repository whose weights are asked for without a file's name, the first that there is.
FILES = ('model.safetensors', 'model.safetensors.index.json', 'pytorch_model.bin', 'pytorch_model.bin.index.json')
PREFIXES = ('hf://', 'hf-hub:')  # of a reference
_OTHERS = ('.pth', '.pth.tar', '.pt', '.safetensors', '.bin')  # then its only file with one of these suffixes
_NAME = r'[A-Za-z0-9][\w.-]*'
_REFERENCE = re.compile(
    rf'(?:hf://|hf-hub:)({_NAME}/{_NAME})(?:@((?:refs/(?:pr|convert)/)?[^/@?#\s]+))?(?:/([^?#]+))?', re.ASCII)
_URL = re.compile(rf'https://(?:huggingface\.co|hf\.co)/({_NAME}/{_NAME})/resolve/((?:refs/(?:pr|convert)/)?[^/?#]+)/'
                  r'([^?#]+)(?:\?download=true)?', re.ASCII | re.I)
_COMMIT = re.compile('[0-9a-f]{40}')  # files of these never change: one in the cache needs no network
_TRIES = 3  # of a connection that breaks: the library goes on where it broke off by itself, or when it is asked again
_NOT_MODELS = ('datasets', 'spaces', 'api')


class Reference(NamedTuple):
    """What is asked for.

    Attributes:
        repo: 'OWNER/REPO'.
        revision: a branch, tag or commit. Default: the repository's main branch.
        file: its path in the repository. Default: the repository's weights, see `FILES`.
    """
    repo: str
    revision: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        return f'hf://{self.repo}' + (f'@{self.revision}' if self.revision else '') + (
            f'/{self.file}' if self.file else '')


def is_reference(path: object) -> bool:
    """Whether a path begins as `hf://` or `hf-hub:`."""
    return str(path).startswith(PREFIXES)


def parsed(path: str) -> Reference | None:
    """The reference that a path or URL is; None for those of other places.

    Raises:
        CheckpointError: it begins as one, and is none.
    """
    match = _REFERENCE.fullmatch(path) or _URL.fullmatch(path)
    if match is None and is_reference(path):
        raise CheckpointError(f'{shown(path)}: expected hf://OWNER/REPO, with @REVISION and /FILE behind it if need be')
    if match is None or match[1].partition('/')[0] in _NOT_MODELS:
        return None
    repo, revision, file = match.groups()
    for text, what in ((revision, 'revision'), (file, 'file')):
        if text and any(part in ('', '.', '..') or '\\' in part for part in unquote(text).split('/')):
            raise CheckpointError(f'{shown(path)}: {shown(unquote(text))} is no {what} of a repository')
    return Reference(repo, revision and unquote(revision), file and unquote(file))


def hub_file(reference: Reference, rather: str | None = None) -> Path:
    """A file in the Hub's cache, downloaded where it is not there yet; of several files the index, beside all others.

    Args:
        reference: what is asked for.
        rather: a file of the same weights, which is taken where the repository has it. Default: none.

    Raises:
        CheckpointError: an endpoint of plain http that is not this machine; no such
            repository, revision or file, one that needs a token, no network and nothing cached.
    """
    with explaining('hf://'):
        import huggingface_hub as hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    scheme, host = urlsplit(_endpoint(hub))[0], urlsplit(_endpoint(hub)).hostname or ''
    if scheme != 'https' and not is_this_machine(host):
        raise CheckpointError(f'HF_ENDPOINT={shown(_endpoint(hub))} in the environment: expected https; over anything '
                              'else anyone on the way can put another file in its place')
    files: list[str] = []
    unreachable = None
    if reference.file is None or rather is not None or not _COMMIT.fullmatch(reference.revision or ''):
        with explained(hub, reference):
            files, unreachable = _files(hub, reference)
    file = rather if rather in files else reference.file
    local = unreachable is not None and not _code(unreachable)  # else the library asks again, some times
    if unreachable is not None and not files and (local or file is None):
        raise CheckpointError(f'{reference}: {_not_cached(hub, reference, unreachable)}')
    file = file or _weights(reference, files)
    found = _download(hub, reference._replace(file=file), local)
    if is_index(found):
        folder, commit = PurePosixPath(file).parent, found.parents[len(PurePosixPath(file).parts) - 1].name
        for shard in sorted(set(shards_of(found).values())):
            _download(hub, Reference(reference.repo, commit, str(folder / shard)), local)
    return found


def _download(hub, reference: Reference, local: bool) -> Path:
    """A file in the cache; `local`: nothing is downloaded, for the Hub was just found to be out of reach."""
    with explained(hub, reference):
        tries = 0
        while True:
            try:
                return Path(hub.hf_hub_download(reference.repo, reference.file, revision=reference.revision,
                                                library_name='mmvision_mamba', local_files_only=local))
            except Exception as error:
                tries += 1
                if tries == _TRIES or not _is_transports(error):
                    raise


def _weights(reference: Reference, files: Collection[str]) -> str:
    """The name of a repository's weights among its files."""
    found = [name for name in FILES if name in files][:1] or [
        name for name in files if name.endswith(_OTHERS) and '/' not in name]
    if len(found) != 1:
        there = f'there are {shortened(found)}' if found else f'it has none of {", ".join(FILES)}'
        raise CheckpointError(f'{reference}: name the file of weights, hf://{reference.repo}/FILE: {there}')
    return found[0]


def _files(hub, reference: Reference) -> tuple[list[str], Exception | None]:
    """A repository's files by the Hub, or, where that can't be reached, those in its cache, and why it can't be."""
    try:
        found = hub.HfApi().model_info(reference.repo, revision=reference.revision,
                                       timeout=hub.constants.HF_HUB_ETAG_TIMEOUT)
        return [file.rfilename for file in found.siblings or ()], None
    except Exception as error:
        overloaded = _code(error) >= 500 or _code(error) == 429
        if not (overloaded or isinstance(error, ConnectionError) or _is_transports(error)):
            raise
        unreachable = error
    folder = _cache(hub) / f'models--{reference.repo.replace("/", "--")}'
    revision = reference.revision or 'main'
    pointer = folder / 'refs' / revision
    snapshot = folder / 'snapshots' / (pointer.read_text().strip() if pointer.is_file() else revision)
    return sorted(path.name for path in snapshot.iterdir()) if snapshot.is_dir() else [], unreachable


@contextmanager
def explained(hub, reference: Reference) -> Iterator[None]:
    """Say in a line or two what the library raises, whose own messages are long, and repeat what the server says."""
    errors = hub.errors
    repo, revision, file = reference
    page, log_in = f'{_endpoint(hub)}/{repo}', 'log in with `hf auth login`, or set HF_TOKEN in the environment'
    try:
        yield
        return
    except UserError:
        raise
    except errors.LocalEntryNotFoundError as error:
        problem = _not_cached(hub, reference, error.__cause__)
    except errors.EntryNotFoundError:
        problem = f'{repo} has no file {shown(file)}: see {page}/tree/{shown(revision or "main")}'
    except errors.GatedRepoError:
        problem = f'{repo} is gated: accept its conditions at {page}, then {log_in}'
    except errors.RepositoryNotFoundError:
        problem = f'there is no {repo} at {_endpoint(hub)}, or it is private: then {log_in}'
    except errors.RevisionNotFoundError:
        problem = f'{repo} has no branch, tag or commit {shown(revision)}: see {page}/tree/main'
    except errors.HfHubHTTPError as error:
        problem = f'{_endpoint(hub)} answers {_code(error)}'
        problem += ': is the token that is set still valid?' if _code(error) in (401, 403) else ''
    except (OSError, ValueError) as error:  # a full disk, a name that the library doesn't take
        problem = _reason(hub, error)
    except Exception as error:
        if not _is_transports(error):
            raise
        problem = f'the download failed: {_reason(hub, error)}'
    raise CheckpointError(f'{reference}: {problem}')


def _code(error) -> int:
    """The HTTP status of an answer that is an error; 0 without one."""
    return getattr(getattr(error, 'response', None), 'status_code', 0) or 0


def _is_transports(error: Exception) -> bool:
    """Whether it is of the library's HTTP client, which changes with its major versions."""
    return type(error).__module__.partition('.')[0] in ('httpx', 'httpx2', 'httpcore', 'requests', 'urllib3')


def _not_cached(hub, reference: Reference, error: BaseException | None) -> str:
    why = 'HF_HUB_OFFLINE is set' if hub.constants.HF_HUB_OFFLINE else (
        f'{_endpoint(hub)} can not be reached' + (f' ({_reason(hub, error)})' if error else ''))
    return (f'{why}, and it is not in the cache, {shown(_cache(hub))}.\nDownload it where there is a network, '
            f'`hf download {reference.repo}`, and copy that folder; or name a local file, or do without: '
            '`mmvision-mamba train --no-pretrained`.')


def _cache(hub) -> Path:
    return Path(hub.constants.HF_HUB_CACHE)


def _endpoint(hub) -> str:
    return hub.constants.ENDPOINT


def _reason(hub, error: BaseException) -> str:
    """What an error says, without the token."""
    if _code(error):
        return f'it answers {_code(error)}'
    inner = error
    for _ in range(20):  # an HTTP client wraps what the system says several times
        inner = inner.__cause__ or inner.__context__ or inner
    said = getattr(error, 'strerror', None) or getattr(inner, 'strerror', None) or str(error)
    text = str(said).strip().partition('\n')[0] or type(error).__name__
    token = hub.get_token()
    return shown(text.replace(token, '***') if token else text)
