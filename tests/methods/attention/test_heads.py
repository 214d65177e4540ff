"""Reading self-attention out of networks: kdnb's, timm's, BERT's kind; and what is refused."""

import pytest
import timm
import torch
from torch import nn

from kdnb.methods.attention import attention_layers, attention_of
from kdnb.methods.attention.heads import heads_in, layer_at, present_in, watched
from kdnb.nets.transformer import PatchEncoder, TextEncoder

TOKENS = torch.tensor([[5, 3, 7, 0, 0], [2, 9, 4, 8, 0]])


def sentences():
    torch.manual_seed(0)
    return TextEncoder(12, layers=2, width=12, heads=3, hidden=8, num_classes=4).eval()


def test_layers_are_found_in_order_with_their_blocks():
    found = attention_layers(PatchEncoder(layers=3, width=12, heads=3))
    assert [one.block for one in found] == ["blocks.0", "blocks.1", "blocks.2"]
    assert {one.heads for one in found} == {3}
    vit = timm.create_model(
        "vit_tiny_patch16_224", img_size=28, patch_size=7, depth=2, embed_dim=24, num_heads=4
    )
    found = attention_layers(vit)
    assert [one.queries for one in found] == ["blocks.0.attn.qkv", "blocks.1.attn.qkv"]
    assert [one.block for one in found] == ["blocks.0", "blocks.1"]


def test_names_as_bert_has_them():
    class SelfAttention(nn.Module):
        def __init__(self):
            super().__init__()
            self.num_attention_heads = 2
            self.query, self.key, self.value = (nn.Linear(4, 4) for _ in range(3))

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.ModuleDict({"self": SelfAttention()})

    class Bert(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.ModuleDict({"layer": nn.ModuleList([Layer(), Layer()])})

    found = attention_layers(Bert())
    assert found[1].queries == "encoder.layer.1.attention.self.query"
    assert (found[1].block, found[1].heads) == ("encoder.layer.1", 2)


def test_attention_is_what_the_network_computes():
    """Values mixed by it are what the layer after them gets."""
    net, got = sentences(), []
    layer = attention_layers(net)[-1]
    net.blocks[-1].joined.register_forward_pre_hook(lambda _, given: got.append(given[0]))
    with watched(net, [layer]) as seen:
        net(TOKENS)
        heads = heads_in(seen, layer)
    mixed = attention_of(net, TOKENS) @ heads.values
    torch.testing.assert_close(mixed.transpose(1, 2).flatten(2), got[0], rtol=1e-4, atol=1e-6)


def test_attention_of_a_fused_layer_is_timms_own():
    torch.manual_seed(0)
    vit = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=28,
        patch_size=7,
        in_chans=1,
        depth=2,
        embed_dim=24,
        num_heads=4,
    ).eval()
    images, got = torch.randn(2, 1, 28, 28), []
    attn = vit.blocks[-1].attn
    attn.proj.register_forward_pre_hook(lambda _, given: got.append(given[0]))
    layer = attention_layers(vit)[-1]
    with watched(vit, [layer]) as seen, torch.no_grad():
        vit(images)
        heads = heads_in(seen, layer)
    mixed = attention_of(vit, images) @ heads.values
    torch.testing.assert_close(mixed.transpose(1, 2).flatten(2), got[0], rtol=1e-4, atol=1e-5)


def test_padding_is_no_key():
    maps = attention_of(sentences(), TOKENS)
    assert maps.shape == (2, 3, 4, 4)
    assert not maps[0, ..., 3:].any()
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 3, 4))


def test_how_padding_is_told():
    assert present_in(TOKENS).sum().item() == 7
    assert present_in(torch.randn(2, 5)) is None
    assert present_in(torch.randn(2, 1, 4, 4)) is None
    mask = torch.tensor([[1, 1, 0]])
    assert present_in({"input_ids": mask, "attention_mask": mask}).tolist() == [[True, True, False]]
    assert present_in({"pixels": mask}) is None


def test_what_has_no_attention_is_refused():
    with pytest.raises(ValueError, match="Sequential has no self-attention whose queries, keys"):
        attention_layers(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="the teacher has 2 layers of self-attention; got 2"):
        layer_at(attention_layers(sentences()), 2, "teacher")


def test_nothing_of_the_network_changes():
    net = sentences()
    before = [len(module._forward_hooks) for module in net.modules()]
    attention_of(net, TOKENS)
    assert [len(module._forward_hooks) for module in net.modules()] == before
