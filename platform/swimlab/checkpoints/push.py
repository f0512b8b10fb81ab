"""A checkpoint folder onto the Hugging Face hub, by the hub's own library and its own login."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi

# HTTPError is that of the library by which it speaks HTTP, whichever that is.
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, LocalTokenNotFoundError


def push(folder: Path, repository: str) -> str:
    """Uploads every file of a folder as one commit, and returns its address.

    A repository that does not exist is made private: who publishes a model decides that, not a command. The token is
    the library's own (`hf auth login`, or HF_TOKEN); it is never an argument, and is in no message.

    Raises:
        ValueError: for a name that is no "owner/name".
        OSError: when nobody is logged in, the hub refuses or cannot be reached; the folder stays as it is.
    """
    api = HfApi()
    try:
        api.create_repo(repository, private=True, exist_ok=True)
        commit = api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Checkpoint of SWIM Lab")
    except HFValidationError as error:
        raise ValueError(f"--push {repository}: {error}; write it as owner/name") from error
    except LocalTokenNotFoundError as error:
        raise OSError(f"--push {repository}: nobody is logged in; run `hf auth login`, or set HF_TOKEN") from error
    except HfHubHTTPError as error:
        if error.response.status_code == 401:
            raise OSError(
                f"--push {repository}: the hub knows no such login; run `hf auth login`, or set HF_TOKEN to a token "
                "that may write"
            ) from error
        raise OSError(f"--push {repository}: the hub refuses: {error}") from error
    except HTTPError as error:
        raise OSError(f"--push {repository}: the hub cannot be reached ({type(error).__name__}: {error})") from error
    return str(commit.commit_url)
