"""Weights of few bits in files: every code, sizes, and files that are none."""

import os
from functools import partial

import pytest
import torch
from draws import draw
from small_quantised import convnet, trained

from kdnb.methods import quantized as q


@pytest.mark.parametrize("bucket", [None, 7, 256])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_packing_loses_nothing(bits, bucket):
    values = q.uniform(draw(3, 7, 5).float(), bits, bucket)
    packed = q.pack(values, bits, bucket)
    assert packed["codes"].dtype == torch.uint8
    assert len(packed["codes"]) == -(-105 * bits // 8)
    restored = q.unpack(packed, values.shape, bits, bucket)
    torch.testing.assert_close(restored, values, rtol=1e-6, atol=1e-6)


def test_the_codes_by_hand():
    packed = q.pack(torch.tensor([0.0, 3.0, 1.0, 2.0, 3.0]), 2, None)
    assert packed["codes"].tolist() == [0 | 3 << 2 | 1 << 4 | 2 << 6, 3]


def test_a_network_comes_back_from_a_small_file(tmp_path):
    network = q.rounded(trained(), partial(q.uniform, bits=2)).eval()
    path = q.save_packed(network, tmp_path / "net.safetensors", 2)
    found = q.load_packed(convnet(7), path)
    inputs = torch.randn(5, 1, 28, 28)
    torch.testing.assert_close(found(inputs), network(inputs), rtol=1e-4, atol=1e-5)
    assert not found.training
    q.save_packed(q.rounded(trained(), partial(q.uniform, bits=8)), tmp_path / "8.safetensors", 8)
    saved = os.path.getsize(tmp_path / "8.safetensors") - os.path.getsize(path)
    assert saved == pytest.approx((8 - 2) / 8 * (4 * 25 + 2560), abs=64)


def test_layers_in_full_precision_stay_exact(tmp_path):
    network = trained()
    with q.quantised(network, partial(q.uniform, bits=4), keep=["0"]):
        pass
    path = q.save_packed(network, tmp_path / "net", 4, keep=["0"])
    assert torch.equal(q.load_packed(convnet(), path)[0].weight, network[0].weight)


def test_other_files_are_refused(tmp_path):
    network = q.rounded(trained(), partial(q.uniform, bits=2))
    path = q.save_packed(network, tmp_path / "net", 2)
    with pytest.raises(ValueError, match="another network|1600 numbers|numbers of 2 bits"):
        q.load_packed(convnet(width=6), path)
    (tmp_path / "text").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="no safetensors file"):
        q.load_packed(convnet(), tmp_path / "text")
    whole = path.read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="no safetensors file"):
        q.load_packed(convnet(), tmp_path / "cut")
    with pytest.raises(ValueError, match="bits"):
        q.pack(torch.ones(3), 3)
