"""What others would run on the same texts, one core each. Every contestant: texts in, (n, 384) vectors out."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Texts = Sequence[str]
Contestant = Callable[[Texts], npt.NDArray[np.float32]]
Integers = npt.NDArray[np.int64]
BATCH = 32


def sentence_transformers_default(folder: Path, max_tokens: int, device: str) -> Contestant:
    """As its users start it: fp32, batches of 32."""
    model = _sentence_transformer(folder, max_tokens, {}, device)
    return lambda texts: np.asarray(model.encode(_prefixed(texts), batch_size=BATCH, normalize_embeddings=True))


def sentence_transformers_bf16(folder: Path, max_tokens: int, device: str, batch: int) -> Contestant:
    """Its best where the machine computes in bf16: bf16 weights, larger batches."""
    import torch

    model = _sentence_transformer(folder, max_tokens, {"dtype": torch.bfloat16}, device)

    def run(texts: Texts) -> npt.NDArray[np.float32]:
        vectors = model.encode(_prefixed(texts), batch_size=batch, normalize_embeddings=True, convert_to_tensor=True)
        return np.asarray(vectors.float().cpu().numpy())

    return run


def transformers_one_by_one(folder: Path, max_tokens: int, device: str) -> Contestant:
    """Plain transformers, a text at a time, as a first script does it."""
    import torch
    from transformers import AutoTokenizer, BertModel

    model = BertModel.from_pretrained(folder, add_pooling_layer=False)
    torch.nn.Module.to(model, device)
    model.train(False)
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def run(texts: Texts) -> npt.NDArray[np.float32]:
        rows = []
        with torch.inference_mode():
            for text in _prefixed(texts):
                batch = tokenizer(text, truncation=True, max_length=max_tokens, return_tensors="pt").to(device)
                rows.append(model(**batch).last_hidden_state.mean(1)[0].cpu().numpy())
        return _unit(np.stack(rows))

    return run


def onnxruntime_model(folder: Path, max_tokens: int, cache: Path, int8: bool) -> Contestant:
    """ONNX Runtime as its users run it: an exported graph, batches of 32 as texts arrive, padded to the longest, one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = _exported(folder, cache, int8)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return _as_texts_arrive(
        folder, max_tokens, lambda ids, mask: session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
    )


def openvino_model(folder: Path, max_tokens: int, cache: Path) -> Contestant:
    """OpenVINO on the same exported graph and batches, one thread, in the number format that it chooses for the processor."""
    import openvino
    from openvino.properties import hint, inference_num_threads

    options = {inference_num_threads(): 1, hint.performance_mode(): hint.PerformanceMode.LATENCY}
    model = openvino.Core().compile_model(str(_exported(folder, cache, int8=False)), "CPU", options)
    return _as_texts_arrive(folder, max_tokens, lambda ids, mask: model([ids, mask])[0])


def _as_texts_arrive(folder: Path, max_tokens: int, hidden: Callable[[Integers, Integers], Any]) -> Contestant:
    """Return batches of 32 as texts arrive, padded to the longest, then the mean of what ``hidden`` makes of ids and mask."""
    tokenizer = _tokenizer(folder, max_tokens)

    def run(texts: Texts) -> npt.NDArray[np.float32]:
        vectors = []
        prefixed = _prefixed(texts)
        for start in range(0, len(prefixed), BATCH):
            encodings = tokenizer.encode_batch(prefixed[start : start + BATCH])
            ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
            mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
            weight = mask[:, :, None].astype(np.float32)
            vectors.append((hidden(ids, mask) * weight).sum(1) / weight.sum(1))
        return _unit(np.concatenate(vectors))

    return run


def in_order_of_length(run: Contestant) -> Contestant:
    """The same with the longest texts first, as sentence-transformers hands them to its ONNX and OpenVINO backends."""

    def ordered(texts: Texts) -> npt.NDArray[np.float32]:
        order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
        vectors = run([texts[place] for place in order])
        return np.asarray(vectors[np.argsort(order)])

    return ordered


def plain_folder(folder: Path, cache: Path) -> Path:
    """Return a folder that transformers reads without us: ours, and the file that says which tokenizer class it is."""
    from pipeline.adapters.files import published_folder

    target = cache / "bench" / "plain"
    special = {"unk_token": "<unk>", "pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}
    with published_folder(target) as scratch:
        for path in folder.iterdir():
            (scratch / path.name).symlink_to(path.resolve())
        facts = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, **special}
        if not (scratch / "tokenizer_config.json").exists():
            (scratch / "tokenizer_config.json").write_text(json.dumps(facts), "utf-8")
    return target


def padded_share(lengths: Sequence[int]) -> float:
    """Return the share of padding when batches of 32 are cut from texts sorted by length, as sentence-transformers does."""
    ordered = sorted(lengths, reverse=True)
    rows = sum(
        max(ordered[start : start + BATCH]) * len(ordered[start : start + BATCH]) for start in range(0, len(ordered), BATCH)
    )
    return 1 - sum(ordered) / rows


def _prefixed(texts: Texts) -> list[str]:
    return ["query: " + text for text in texts]


def _unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _sentence_transformer(folder: Path, max_tokens: int, model_options: dict[str, Any], device: str) -> Any:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    transformer = Transformer(str(folder), max_seq_length=max_tokens, model_kwargs=model_options)
    return SentenceTransformer(modules=[transformer, Pooling(384, "mean")], device=device)


def _tokenizer(folder: Path, max_tokens: int) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(max_tokens)
    tokenizer.enable_padding(pad_id=1)
    return tokenizer


def _exported(folder: Path, cache: Path, int8: bool) -> Path:
    from pipeline.adapters.files import published_file

    plain, small = cache / "bench" / "e5.onnx", cache / "bench" / "e5-int8.onnx"
    if not plain.is_file():
        with published_file(plain) as scratch:
            _export(folder, scratch)
    if int8 and not small.is_file():
        from onnxruntime.quantization import QuantType, quantize_dynamic

        with published_file(small) as scratch:
            quantize_dynamic(plain, scratch, weight_type=QuantType.QInt8)
    return small if int8 else plain


def _export(folder: Path, target: Path) -> None:
    import torch
    from transformers import BertModel

    class Hidden(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = BertModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="eager")
            self.model.train(False)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            hidden: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            return hidden

    example = (torch.ones(2, 9, dtype=torch.long), torch.ones(2, 9, dtype=torch.long))
    axes = {name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask", "hidden")}
    torch.onnx.export(
        Hidden(),
        example,
        str(target),
        input_names=["input_ids", "attention_mask"],
        output_names=["hidden"],
        dynamic_axes=axes,
        dynamo=False,
    )
