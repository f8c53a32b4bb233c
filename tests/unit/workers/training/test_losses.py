"""The losses against torch's own, set by set, and batches filled up for a recorded step."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div

from tests.unit.workers.tiny_model import tiny_weights
from workers.forward.heads import Whitening
from workers.forward.trunk import Sizes
from workers.training.config import DataSet, Lora, TrainConfig
from workers.training.data import Prepared, class_weights
from workers.training.feed import feed
from workers.training.losses import Labels, Tasks
from workers.training.recorded_step import filled, fits, shape_of
from workers.training.tuned import Batch, TunedModel

SMOOTHING = 0.05


def prepared(name: str, task: str, names: tuple[str, ...], present: list[int]) -> Prepared:
    draw = np.random.default_rng(len(name))
    classes = np.array(present + draw.choice(present, 9).tolist())
    tokens = [draw.integers(6, 200, length).astype(np.int32) for length in draw.integers(3, 20, len(classes))]
    config = DataSet(name=name, task=task, train="x", share=1)
    return Prepared(config, tokens, classes, names, class_weights(classes, len(names), 0.5), [], np.zeros(0, np.int64))


@pytest.fixture
def sets() -> list[Prepared]:
    three = ("negative", "neutral", "positive")
    return [
        prepared("three", "sentiment", three, [0, 1, 2]),
        prepared("two", "sentiment", three, [0, 2]),
        prepared("asks", "intent", ("a", "b"), [0, 1]),
        prepared("more", "intent", ("c", "d", "e"), [0, 1, 2]),
    ]


def labels_of(sets: list[Prepared]) -> Labels:
    places = [(index, int(one.classes[row])) for index, one in enumerate(sets) for row in range(len(one.tokens))]
    owners, classes = (torch.tensor(part) for part in zip(*places, strict=True))
    targets = torch.cat([torch.from_numpy(one.targets(0.5)) for one in sets])
    return Labels(owners, classes, torch.arange(len(owners)), targets)


def test_the_sentiment_loss_is_torchs_cross_entropy_set_by_set_with_neutral_masked(sets: list[Prepared]) -> None:
    labels, torch_loss = labels_of(sets), []
    logits = torch.randn(len(labels.sets), 3, generator=torch.Generator().manual_seed(1))
    for index, one in enumerate(sets[:2]):
        own, target = logits[labels.sets == index], labels.classes[labels.sets == index]
        weight = torch.from_numpy(one.weights)
        if one.two_class:
            own, target, weight = own[:, [0, 2]], (target > 1).long(), weight[[0, 2]]
        torch_loss.append(cross_entropy(own, target, reduction="none", label_smoothing=SMOOTHING) * weight[target])
    torch.testing.assert_close(Tasks(sets).sentiment(logits, labels, SMOOTHING), torch.cat(torch_loss).mean())


def test_with_teachers_the_loss_is_torchs_cross_entropy_to_the_mixed_targets(sets: list[Prepared]) -> None:
    taught = np.random.default_rng(1).dirichlet((1, 1, 1), len(sets[0].tokens)).astype(np.float32)
    sets = [replace(sets[0], taught=taught, weights=np.ones(3, np.float32)), *sets[1:]]
    labels = labels_of(sets)
    three = labels.sets == 0
    own = torch.nn.functional.one_hot(labels.classes[three], 3)
    torch.testing.assert_close(labels.targets[three], 0.5 * own + 0.5 * torch.from_numpy(taught))
    logits = torch.randn(len(labels.sets), 3, generator=torch.Generator().manual_seed(1))
    only = Labels(*(part[three] for part in labels))
    wanted = cross_entropy(logits[three], labels.targets[three], label_smoothing=SMOOTHING)
    torch.testing.assert_close(Tasks(sets).sentiment(logits[three], only, SMOOTHING), wanted)


def test_the_intent_loss_is_torchs_cross_entropy_over_the_intents_of_each_set(sets: list[Prepared]) -> None:
    labels = labels_of(sets)
    logits = torch.randn(len(labels.sets), 5, generator=torch.Generator().manual_seed(2))
    asks, more = labels.sets == 2, labels.sets == 3
    wanted = torch.cat(
        [
            cross_entropy(logits[asks][:, :2], labels.classes[asks], reduction="none"),
            cross_entropy(logits[more][:, 2:], labels.classes[more], reduction="none"),
        ]
    )
    torch.testing.assert_close(Tasks(sets).intent(logits, labels), wanted.mean())


def test_what_is_trained_for_an_intent_set_is_what_answers_for_it_whatever_its_place(sets: list[Prepared]) -> None:
    three = ("negative", "neutral", "positive")
    many = [prepared(f"set{number}", "sentiment", three, [0, 1, 2]) for number in range(9)]
    many += sets[2:]  # in the places 9 and 10, which text sorts the other way
    model = model_of(config_of(many), many)
    features = torch.randn(6, 768, generator=torch.Generator().manual_seed(4))
    for index, classes in ((9, torch.arange(6) % 2), (10, torch.arange(6) % 3)):
        asked = Labels(torch.full((6,), index), classes, torch.arange(6), torch.zeros(6, 3))
        wanted = cross_entropy(model.intent_logits(index, features[:, :384]), classes)
        torch.testing.assert_close(model.terms(features, None, asked)["intent"], wanted)


def test_disagreement_is_the_divergence_of_two_forms_both_ways_by_whatever_head_is_asked(sets: list[Prepared]) -> None:
    sentiments, intents = (torch.randn(4, width, generator=torch.Generator().manual_seed(3)) for width in (3, 5))
    labels = Labels(torch.tensor([0, 3, 0, 3]), torch.tensor([1, 0, 1, 0]), torch.tensor([2, 3, 0, 1]), torch.zeros(4, 3))
    pairs = [(sentiments[0], sentiments[2]), (intents[1, 2:], intents[3, 2:])]
    both = []
    for pair in pairs:
        one, other = (torch.log_softmax(logits, 0) for logits in pair)
        both += [kl_div(one, other, log_target=True, reduction="sum"), kl_div(other, one, log_target=True, reduction="sum")]
    torch.testing.assert_close(Tasks(sets).disagreement(sentiments, intents, labels), torch.stack(both).mean())
    torch.testing.assert_close(Tasks(sets).disagreement(sentiments, None, labels), torch.stack(both[:2]).mean())


def test_partners_stay_partners_in_another_order() -> None:
    labels = Labels(torch.arange(6), torch.arange(6), torch.arange(6).roll(3), torch.rand(6, 3))
    order = torch.tensor([4, 0, 5, 1, 3, 2])
    moved = labels.at(order)
    assert torch.equal(moved.sets, order)
    assert torch.equal(moved.sets[moved.partner], labels.partner[order])
    assert torch.equal(moved.targets, labels.targets[order])


def test_without_dropout_two_forms_of_a_text_agree(sets: list[Prepared]) -> None:
    config = config_of(sets, consistency=1.0)
    model = model_of(config, sets)
    batch = next(feed(config, sets))
    assert len(batch.tokens) % 2 == 0
    assert model.losses(batch, with_base=False)["consistency"].item() == pytest.approx(0.0, abs=1e-6)
    trained = model_of(config.model_copy(update={"residual_dropout": 0.3}), sets).train()
    assert trained.losses(batch, with_base=False)["consistency"].item() > 1e-5


def test_a_batch_filled_up_has_the_losses_and_gradients_of_its_own_texts(sets: list[Prepared]) -> None:
    config = config_of(sets)
    model, batch, shape = model_of(config, sets), next(feed(config, sets)), shape_of(config, sets)
    assert fits(batch, shape)
    full = filled(batch, shape, model.tasks.filling)
    assert (sum(map(len, full.tokens)), len(full.tokens)) == (shape.rows, shape.texts)
    assert all(1 <= len(ids) <= shape.longest for ids in full.tokens)
    found = []
    for one in (batch, full):
        terms = model.losses(one, with_base=True)
        model.total(terms).backward()  # type: ignore[no-untyped-call]
        found.append((terms, [parameter.grad for parameter in model.parameters()]))
        model.zero_grad(set_to_none=True)
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-4)


def test_every_batch_of_a_run_fits_but_for_one_of_many_short_texts(sets: list[Prepared]) -> None:
    config = config_of(sets, consistency=1.0)
    shape = shape_of(config, sets)
    assert all(fits(batch, shape) for batch in itertools.islice(feed(config, sets), 300))
    texts = shape.texts + 1
    none = torch.zeros(texts, dtype=torch.int64)
    short = Batch([np.array([1, 2], np.int32)] * texts, Labels(none, none, none, torch.zeros(texts, 3)))
    assert not fits(short, shape)


def config_of(sets: list[Prepared], consistency: float = 0.0) -> TrainConfig:
    data = tuple(one.config for one in sets)
    return TrainConfig(
        name="x",
        mode="lora",
        data=data,
        steps=1,
        batch_tokens=96,
        max_tokens=32,
        precision="fp32",
        dropout=0.0,
        consistency=consistency,
        lora=Lora(rank=2, alpha=4, layers=1),
    )


def model_of(config: TrainConfig, sets: list[Prepared]) -> TunedModel:
    torch.manual_seed(0)
    model = TunedModel(tiny_weights(), Sizes(12, 2, 1e-12), config, sets)
    model.whitening = Whitening(torch.zeros(384), torch.eye(384))
    return model.eval()
