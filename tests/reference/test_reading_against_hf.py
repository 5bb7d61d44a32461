"""Proves that training reads the log-probabilities of the model's own logits, in every family, and no logits besides.

The witness is transformers: a forward pass over single rows, and the gradient of a loss on its logits.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from solon.training.batching import TokenRow, pack_rows
from solon.training.forward import can_share_prompts, read_logprobs
from tests.language_models import FUSED, OTHERS, make_model, make_prompts
from tests.tolerances import FLOAT32_SAME

every_model = pytest.mark.parametrize("name", [*FUSED, *OTHERS])

PROMPTS = make_prompts(2, seed=5)
RESPONSES = make_prompts(4, seed=6)
ROWS = [TokenRow((*PROMPTS[n // 2], *response), len(PROMPTS[n // 2])) for n, response in enumerate(RESPONSES)]


def own_logprobs(model: Any, row: TokenRow) -> Tensor:
    """Log-probabilities of a row's response by a forward pass over it alone. Shape (R,)."""
    logits = model(input_ids=torch.tensor([row.ids])).logits[0, row.prompt_length - 1 : -1].float()
    found: Tensor = logits.log_softmax(-1).gather(1, torch.tensor(row.ids[row.prompt_length :])[:, None])[:, 0]
    return found


@every_model
@pytest.mark.parametrize("share", [False, True])
def test_logprobs_are_those_of_the_models_own_logits(name: str, share: bool) -> None:
    model = make_model(name)
    batch = pack_rows(ROWS, share_prompts=share and can_share_prompts(model))
    with torch.no_grad():
        read = read_logprobs(model, batch, None)
        for row, found in zip(ROWS, read, strict=True):
            torch.testing.assert_close(
                found[: row.response_length], own_logprobs(model, row), rtol=FLOAT32_SAME, atol=FLOAT32_SAME
            )


@every_model
def test_gradients_are_those_of_the_models_own_logits(name: str) -> None:
    model = make_model(name)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    share = can_share_prompts(model)
    read = read_logprobs(model, pack_rows(ROWS, share_prompts=share), None).sum()
    found = torch.autograd.grad(read, parameters)
    expected = torch.autograd.grad(torch.stack([own_logprobs(model, row).sum() for row in ROWS]).sum(), parameters)
    for one, other in zip(found, expected, strict=True):
        assert float((one - other).norm()) <= FLOAT32_SAME * max(1.0, float(other.norm()))


@every_model
def test_only_rows_that_are_wanted_go_through_the_head(name: str) -> None:
    model = make_model(name)
    batch = pack_rows(ROWS, share_prompts=False)
    rows = []
    hook = model.get_output_embeddings().register_forward_hook(lambda head, given, out: rows.append(out.shape[:-1]))
    with torch.no_grad():
        read_logprobs(model, batch, None)
        model(input_ids=batch.ids)
    hook.remove()
    assert rows == [(1, len(batch.targets)), batch.ids.shape]  # and afterwards the model is as it was


def test_a_model_whose_head_cannot_be_asked_gives_all_its_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("granite")
    batch = pack_rows(ROWS, share_prompts=False)
    with torch.no_grad():
        expected = read_logprobs(model, batch, None)
        with monkeypatch.context() as patch:
            patch.setattr(model, "get_output_embeddings", lambda: None)
            torch.testing.assert_close(read_logprobs(model, batch, None), expected, rtol=0, atol=FLOAT32_SAME)
            patch.setattr(model, "get_output_embeddings", model.get_input_embeddings)
            torch.testing.assert_close(read_logprobs(model, batch, None), expected, rtol=0, atol=FLOAT32_SAME)
