"""What a set of weights is called, and the space of its vectors: names that change with whatever changes an answer."""

import hashlib
import json

from workers.encoder import CUT_SCHEME, INT8_SCHEME
from workers.model.model_store import Manifest
from workers.model.shipped import Shipped


def revision_of(hashes: dict[str, str], name: str, mode: str, max_tokens: int) -> str:
    """Return the name of a set of weights with what they were hashed to, for example ``joint-bf16-1f00c0ffee12``."""
    what = json.dumps([hashes, INT8_SCHEME if mode == "int8" else mode, max_tokens, CUT_SCHEME], sort_keys=True).encode()
    return f"{name}-{mode}-{hashlib.sha256(what).hexdigest()[:12]}"


def space_of(manifest: Manifest, trained: Shipped, mode: str, max_tokens: int) -> str:
    """Return the name of the space that the vectors lie in: that of a revision, without what heads and intents are."""
    vectors = {name: digest for name, digest in trained.hashes.items() if name.startswith(("adapter", "whitening"))}
    return revision_of(manifest.files | vectors, trained.name, mode, max_tokens)
