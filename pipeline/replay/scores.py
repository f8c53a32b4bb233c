"""The scores of a raw file, kept beside it, so that a second run is fast.

The name of the kept file depends on the content of the raw file, the mapping and the model's revision: other weights or an
edited file never meet stale scores. Where the folder cannot be written, the cache folder takes the scores.
"""

import gzip
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pipeline.adapters.files import published_file
from pipeline.errors import ConfigurationError
from pipeline.events import ScoredPost
from pipeline.replay.recorded import once_in_order

SCORES: Final = ".scored.jsonl.gz"


def refused_beside(kept: Path) -> Path:
    """Return where the dead letters of raw posts stand that cannot be scored; there is no such file without them."""
    return kept.with_name(f"{kept.name.removesuffix(SCORES)}.refused.jsonl")


def kept_scores(raw: Path, identity: str, cache: Path) -> Path:
    """Return where the scores of ``raw`` stand, or will; ``identity`` says what they depend on beside the file's bytes."""
    with raw.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256")
    digest.update(identity.encode())
    name = f"{raw.name.split('.')[0]}.{digest.hexdigest()[:12]}{SCORES}"
    beside = raw.with_name(name)
    if beside.is_file() or os.access(raw.parent, os.W_OK):
        return beside
    return cache / "scores" / name


def keep_scores(target: Path, posts: Iterable[ScoredPost]) -> int:
    """Write what ``once_in_order`` returns of the posts; return their number.

    Equal posts give equal bytes; an interruption leaves no half file.
    """
    unique = once_in_order(posts)
    try:
        with published_file(target) as scratch, scratch.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as out:
            for post in unique:
                out.write(post.to_json() + b"\n")
    except OSError as error:
        raise ConfigurationError(
            f"scores cannot be written to {target}: {error}; free the space or set GROUNDSWELL_CACHE"
        ) from error
    return len(unique)
