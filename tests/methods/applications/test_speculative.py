"""Speculative decoding: the text has the teacher's distribution, whoever drafts."""

import pytest
import torch
from small_languages import END, distribution, model

from kdnb.methods.applications.speculative import acceptance, speculative_decoding

PROMPT = torch.tensor([2, 4])


@pytest.mark.parametrize(("ahead", "draft"), [(1, 0), (3, 0), (3, 2)])
def test_the_text_has_the_teachers_distribution(ahead, draft):
    generator, small, large = torch.Generator().manual_seed(0), model(draft), model(1)
    truth = distribution(large, PROMPT.tolist(), 3)
    counts = {}
    for _ in range(1500):
        found = speculative_decoding(
            small, large, PROMPT, longest=3, end=END, ahead=ahead, generator=generator
        )
        key = tuple(found.tokens[2:].tolist())
        counts[key] = counts.get(key, 0) + 1
        assert len(key) <= 3 and found.accepted <= found.proposed and found.calls <= len(key)
    assert set(counts) <= set(truth)
    assert sum(abs(counts.get(k, 0) / 1500 - p) for k, p in truth.items()) / 2 < 0.1


def test_a_draft_of_the_same_model_is_always_accepted():
    generator = torch.Generator().manual_seed(1)
    found = [
        speculative_decoding(
            model(1), model(1), PROMPT, longest=9, end=99, ahead=2, generator=generator
        )
        for _ in range(20)
    ]
    assert all(one.accepted == one.proposed == 6 and one.calls == 3 for one in found)


def test_how_often_a_draft_is_accepted():
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.1, 0.3, 0.6])
    assert acceptance(p, q).item() == pytest.approx(0.1 + 0.3 + 0.2)
    assert acceptance(p, q).item() == pytest.approx(1 - (p - q).abs().sum().item() / 2)
    with pytest.raises(ValueError, match="ahead"):
        speculative_decoding(model(0), model(1), PROMPT, longest=2, end=END, ahead=0)
