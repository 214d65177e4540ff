"""Lines of digits: what a line holds, where, and that a seed fixes it."""

import pytest
import torch

from kdnb.data.strings import digit_strings

# Three "images" of 2 x 3 pixels, told apart by their brightness.
IMAGES = torch.tensor([0.1, 0.2, 0.3])[:, None, None].expand(3, 2, 3).clone()
IMAGES[:, 1] += 1  # the lower row
LABELS = torch.tensor([4, 0, 7])


def test_a_line_spells_its_images():
    made = digit_strings(IMAGES, LABELS, 20, digits=(2, 4), gaps=(1, 3), seed=1)
    assert made.frames.shape == (20, 4 * 3 + 5 * 3, 2)
    for frames, length, tokens, states in zip(*made, strict=True):
        spelt, n = [], 0
        while n < length:
            if states[n] == 0:
                assert not frames[n].any()
                n += 1
                continue
            (number,) = [i for i in range(3) if LABELS[i] + 1 == states[n]]
            assert torch.equal(frames[n : n + 3], IMAGES[number].T)
            assert (states[n : n + 3] == states[n]).all()
            spelt.append(int(states[n]))
            n += 3
        assert spelt == [k for k in tokens.tolist() if k >= 0] and 2 <= len(spelt) <= 4
        assert (states[length:] == -100).all() and not frames[length:].any()


def test_columns_are_joined_to_frames():
    one = digit_strings(IMAGES, LABELS, 5, digits=(2, 3), gaps=(0, 2), seed=3)
    two = digit_strings(IMAGES, LABELS, 5, digits=(2, 3), gaps=(0, 2), columns=2, seed=3)
    assert two.frames.shape == (5, -(-one.frames.shape[1] // 2), 4)
    assert torch.equal(two.lengths, (one.lengths + 1) // 2)
    assert torch.equal(two.tokens, one.tokens)
    for place in range(5):
        n = int(one.lengths[place]) // 2
        assert torch.equal(two.frames[place, :n].reshape(-1, 2), one.frames[place, : 2 * n])
        assert torch.equal(two.states[place, :n], one.states[place, : 2 * n : 2])


def test_noise_is_in_the_line_alone_and_the_seed_fixes_all():
    noisy = digit_strings(IMAGES, LABELS, 4, noise=0.5, seed=5)
    again = digit_strings(IMAGES, LABELS, 4, noise=0.5, seed=5)
    other = digit_strings(IMAGES, LABELS, 4, noise=0.5, seed=6)
    for one, two in zip(noisy, again, strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(noisy.frames, other.frames)
    behind = torch.arange(noisy.frames.shape[1]) >= noisy.lengths[:, None]
    assert not noisy.frames[behind].any() and noisy.frames[~behind].all()


def test_some_lines():
    made = digit_strings(IMAGES, LABELS, 6)
    some = made.select(slice(2))
    assert (
        len(some.tokens) == 2 and some.inputs[0] is some.frames and some.inputs[1] is some.lengths
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": IMAGES[:, None]}, "images, height, width"),
        ({"labels": LABELS[:2]}, "labels"),
        ({"lines": 0}, "lines"),
        ({"digits": (0, 3)}, "digits"),
        ({"digits": (3, 2)}, "digits"),
        ({"gaps": (-1, 2)}, "gaps"),
        ({"columns": 0}, "columns"),
        ({"noise": -1.0}, "noise"),
    ],
)
def test_what_is_refused(change, said):
    given = {"images": IMAGES, "labels": LABELS, "lines": 2}
    with pytest.raises(ValueError, match=said):
        digit_strings(**{**given, **change})
