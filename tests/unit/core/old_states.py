"""States as older releases wrote them."""

import json
import zlib


def as_version_1(encoded: bytes) -> bytes:
    """Return a state of this code as version 1 would have written it: it did not know the entity's own rate of episodes."""
    body = encoded[2:]
    document = json.loads(body if body.startswith(b"{") else zlib.decompress(body))
    for values in document["checkpoints"]:
        del values[2]
    return (1).to_bytes(2, "big") + json.dumps(document).encode()
