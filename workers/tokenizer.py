"""From normal forms to token ids: the model's own tokenizer, with the prefix that e5 was trained on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from workers.encoder import TokenIds

PREFIX: Final = "query: "


class TextTokenizer:
    """Tokenises whole batches; a text longer than ``max_tokens`` is cut, its end mark kept."""

    def __init__(self, folder: Path, max_tokens: int) -> None:
        from tokenizers import Tokenizer

        self.max_tokens = max_tokens
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)

    def __call__(self, texts: Sequence[str]) -> list[TokenIds]:
        """Return the ids of each text, prefix and special tokens included."""
        encodings = self._tokenizer.encode_batch_fast([PREFIX + text for text in texts])
        return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
