"""A BERT of two layers with random weights, and everything around it, in the layout that ``model fetch`` writes."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

from pipeline.adapters.files import sha256_of
from workers.forward.heads import SentimentHead
from workers.model import shipped
from workers.model.model_store import FILES, MANIFEST
from workers.model.ngrams import BUCKETS

LAYERS, HIDDEN, HEADS, INTERMEDIATE, POSITIONS = 2, 384, 12, 128, 128
WORDS = ["<s>", "<pad>", "</s>", "<unk>", "query", ":", *(f"w{index}" for index in range(200)), "涨", "跌"]
RECIPE = """
name: tiny
mode: {mode}
steps: {steps}
batch_tokens: 96
max_tokens: 32
precision: fp32
evaluate_every: 4
checkpoint_every: 3
distil_every: 2
average: 0.9
trunk_dropout: 0.1
lora: {{rank: 4, alpha: 8, layers: 1}}
data:
  - {{name: three, task: sentiment, share: 3, train: three.jsonl, dev: dev.jsonl}}
  - {{name: two, task: sentiment, share: 2, train: two.jsonl}}
  - {{name: asks, task: intent, share: 1, train: asks.jsonl, dev: asks_dev.jsonl}}
"""


def tiny_weights(seed: int = 0) -> dict[str, Tensor]:
    """Return random tensors under the names of transformers' BertModel."""
    draw = torch.Generator().manual_seed(seed)

    def some(*shape: int, scale: float = 0.05) -> Tensor:
        return torch.randn(*shape, generator=draw) * scale

    weights = {
        "embeddings.word_embeddings.weight": some(len(WORDS), HIDDEN),
        "embeddings.position_embeddings.weight": some(POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": some(2, HIDDEN),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(LAYERS):
        prefix = f"encoder.layer.{layer}"
        norms += [f"{prefix}.attention.output.LayerNorm", f"{prefix}.output.LayerNorm"]
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            weights[f"{prefix}.{name}.weight"], weights[f"{prefix}.{name}.bias"] = some(HIDDEN, HIDDEN), some(HIDDEN)
        weights[f"{prefix}.intermediate.dense.weight"] = some(INTERMEDIATE, HIDDEN)
        weights[f"{prefix}.intermediate.dense.bias"] = some(INTERMEDIATE)
        weights[f"{prefix}.output.dense.weight"] = some(HIDDEN, INTERMEDIATE)
        weights[f"{prefix}.output.dense.bias"] = some(HIDDEN)
    for name in norms:
        weights[f"{name}.weight"], weights[f"{name}.bias"] = 1 + some(HIDDEN), some(HIDDEN)
    return weights


def tiny_config() -> dict[str, Any]:
    """Return the ``config.json`` of the tiny model."""
    return {
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INTERMEDIATE,
        "vocab_size": len(WORDS),
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 1,
    }


def write_model(folder: Path, heads: int = HEADS) -> Path:
    """Write a model folder with its manifest."""
    folder.mkdir(parents=True)
    save_file(tiny_weights(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(tiny_config() | {"num_attention_heads": heads}), "utf-8")
    _tokenizer().save(str(folder / "tokenizer.json"))
    manifest = {"name": "tiny", "origin": "test", "files": {name: sha256_of(folder / name) for name in FILES}}
    (folder / MANIFEST).write_text(json.dumps(manifest), "utf-8")
    return folder


def write_trained(folder: Path, with_adapter: bool = True) -> Path:
    """Write a folder of trained weights: an adapter, a sentiment head, a whitening and three intents."""
    draw = torch.Generator().manual_seed(5)
    torch.manual_seed(5)
    head = SentimentHead(HIDDEN, 32)
    tensors = {f"sentiment.{name}": value.detach().clone() for name, value in head.state_dict().items()}
    tensors["sentiment.query"] = torch.randn(HIDDEN, generator=draw) * 0.1
    tensors |= {"whitening.mean": torch.zeros(HIDDEN), "whitening.matrix": torch.randn(HIDDEN, HIDDEN, generator=draw)}
    tensors |= {"intents.weight": torch.randn(3, HIDDEN, generator=draw), "intents.bias": torch.zeros(3)}
    tensors["intents.gate"] = torch.tensor([1.0, 0.0])
    for kind in ("news", "talk"):
        tensors[f"wording.{kind}.levels"] = torch.randint(-127, 128, (BUCKETS, 4), generator=draw, dtype=torch.int8)
        tensors[f"wording.{kind}.steps"] = torch.full((4,), 0.01)
    if with_adapter:
        tensors["adapter.encoder.layer.1.query_key_value.down"] = torch.randn(4, HIDDEN, generator=draw) * 0.1
        tensors["adapter.encoder.layer.1.query_key_value.up"] = torch.randn(3 * HIDDEN, 4, generator=draw) * 0.1
    shipped.save(folder, tensors, {"name": "tiny", "intents": ["buy", "sell", "none"]})
    return folder


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace()])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return tokenizer
