"""The training step makes logits for the learned tokens alone; loss and gradients are those of LLaVA's own forward."""

from __future__ import annotations

import pytest
import torch
import weights

pytestmark = pytest.mark.pinned

FRAMES = 6


def batch() -> dict:
    """Two rows of unequal length with a video each, the second with padding."""
    ids = torch.tensor([[1, 20, -200, 30, 31, 32, 33, 2], [1, 20, -200, 40, 41, 2, 0, 0]])
    labels = torch.full_like(ids, -100)
    labels[0, 5:], labels[1, 4:6] = ids[0, 5:], ids[1, 4:6]
    videos = [weights.numbers(FRAMES, weights.CHANNELS, name=name) for name in "ab"]
    return dict(input_ids=ids, labels=labels, attention_mask=(ids != 0).long(), videos=videos)


def loss_and_gradients(model) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    output = model(**batch())
    output.loss.backward()
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    return output.loss.detach(), found


def test_it_gives_the_loss_and_gradients_of_llavas_own_forward():
    model = weights.video_model(FRAMES)
    expected_loss, expected = loss_and_gradients(model.eval())
    loss, found = loss_and_gradients(model.train())
    torch.testing.assert_close(loss, expected_loss)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_logits_are_made_for_learned_tokens_alone():
    model, rows = weights.video_model(FRAMES).train(), []
    model.lm_head.register_forward_hook(lambda module, args, output: rows.append(output.shape))
    assert model(**batch()).logits is None
    assert rows == [(5, model.config.vocab_size)]  # three learned tokens and two


def test_a_batch_without_a_learned_token_gives_no_nan():
    model = weights.video_model(FRAMES).train()
    nothing = batch()
    nothing["labels"] = torch.full_like(nothing["labels"], -100)
    loss = model(**nothing).loss
    loss.backward()
    assert loss == 0 and not any(weight.grad.any() for weight in model.parameters() if weight.grad is not None)


def test_a_model_that_has_been_asked_can_be_trained():
    """What it keeps between calls must not be of inference mode, which autograd refuses."""
    model = weights.video_model(FRAMES)
    asked = {name: value for name, value in batch().items() if name != "labels"}
    with torch.inference_mode():
        model(**asked)
    model.train()(**batch()).loss.backward()
    assert model.get_input_embeddings().weight.grad.any()
