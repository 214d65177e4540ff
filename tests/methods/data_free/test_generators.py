"""The generators: their sizes, their images, what they refuse."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdnb.methods.data_free import Generator, generate
from kdnb.methods.data_free.generators import EnlargedConvolution


def small(seed=0, **options):
    torch.manual_seed(seed)
    return Generator(width=4, image_size=8, latent=5, **options)


def test_the_papers_generator():
    """The released sizes: 100 -> 128x8x8 -> 128x16x16 -> 64x32x32 -> 1x32x32."""
    linear, first, second, last = 100 * 8192 + 8192, 9 * 128 * 128 + 128, 9 * 128 * 64 + 64, 577
    norms = 2 * (128 + 128 + 64)
    with torch.device("meta"):
        generator = Generator()
    parameters = sum(p.numel() for p in generator.parameters())
    assert parameters == linear + first + second + last + norms == 1_049_985
    assert [m.eps for m in generator.modules() if isinstance(m, nn.BatchNorm2d)] == [
        1e-5, 0.8, 0.8, 1e-5]  # fmt: skip
    assert generator.start == 8
    with torch.device("meta"):
        assert Generator("zskt", channels=3).start == 10


@pytest.mark.parametrize("outputs", [1, 5, 9])
@pytest.mark.parametrize("size", [8, 10])
def test_enlarging_and_convolving_in_one_changes_nothing(size, outputs):
    """As the authors write it: enlarge by the nearest pixel, then convolve."""
    torch.manual_seed(0)
    layer = EnlargedConvolution(3, outputs, size).double()
    maps = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    plain = F.conv2d(F.interpolate(maps, size=(size, size)), layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(maps), plain)
    weights = torch.randn_like(plain)
    slopes = [
        torch.autograd.grad((out * weights).sum(), layer.weight) for out in (layer(maps), plain)
    ]
    torch.testing.assert_close(*slopes)


def test_images_are_normalised_over_the_batch_like_data():
    images = generate(small(), 16)
    assert images.shape == (16, 1, 8, 8)
    assert images.mean().item() == pytest.approx(0, abs=1e-5)
    assert images.var(correction=0).item() == pytest.approx(1, abs=1e-2)


def test_a_generator_whose_tanh_saturates_on_one_side_is_dead():
    """How DAFL's collapses for good: the same blank image for all noise, and no gradient at all."""
    generator = small()
    with torch.no_grad():
        generator.last.bias.fill_(-1000.0)
    images = generator(torch.randn(16, 5))
    assert torch.equal(images, torch.zeros_like(images))
    (images * torch.randn_like(images)).sum().backward()
    assert all(not weight.grad.any() for weight in generator.parameters())


def test_looking_at_images_changes_nothing():
    generator = small().eval()
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    first = generate(generator, 4, seed=1)
    assert torch.equal(first, generate(generator, 4, seed=1))
    assert not generator.training
    assert all(torch.equal(value, before[key]) for key, value in generator.state_dict().items())


def test_generators_refuse_what_they_cannot_make():
    with pytest.raises(ValueError, match="no generator 'gan'; there are dafl, dfad, zskt"):
        Generator("gan")
    with pytest.raises(ValueError, match=r"multiple of 4 and width of 2; got 30 and 128"):
        Generator(image_size=30)
    with pytest.raises(ValueError, match="needs 2 images; got 1"):
        generate(small(), 1)
