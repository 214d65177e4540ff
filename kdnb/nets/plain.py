"""The plain convolutional networks of 2, 4, 6, 8 and 10 layers of the teacher-assistant paper."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from kdnb.nets._shared import at_least, height_width, initialise, scaled

# For each number of layers: the channels of the convolutions stage by stage, and the hidden units.
LAYERS = {
    2: (((16,), (16,)), None),
    4: (((16, 16), (32, 32)), None),
    6: (((16, 16), (32, 32), (64, 64)), None),
    8: (((16, 16), (32, 32), (64, 64), (128, 128)), 64),
    10: (((32, 32), (64, 64), (128, 128), (256, 256, 256, 256)), 128),
}


class PlainNet(nn.Module):
    """Stages of 3x3 convolutions, each ended by 2x2 max-pooling, and a linear classifier.

    Batch normalisation and ReLU follow each convolution. The two largest have a hidden layer
    between the flattened maps and the classifier. The name counts the convolutions
    (Mirzadeh et al. 2020, TAKD, section 4 and the appendix's table):

    - `plain2`: 16, pool, 16, pool; 13,050 parameters with CIFAR-10's images;
    - `plain4`: 16, 16, pool, 32, 32, pool;
    - `plain6`: the same, then 64, 64, pool;
    - `plain8`: the same, then 128, 128, pool, and 64 hidden units;
    - `plain10`: 32, 32, pool, 64, 64, pool, 128, 128, pool, 256 four times, pool, and 128
      hidden units.

    `stage1`, `stage2`, ... are the pooled maps, `stageS.reluN` those before pooling; `embedding` is
    the classifier's input.

    Args:
        num_classes, in_channels, image_size: of the data; every stage halves the image, rounding
            down, so that it needs at least two pixels to the power of the number of stages.
        depth: the number of convolutions, 2, 4, 6, 8 or 10.
        width: a factor for the channels and the hidden units.

    Raises:
        ValueError: for another depth, a width that is not a number above 0, or images that are too
            small.

    Departures: the convolutions have no bias, because batch normalisation would cancel it. The
    ReLU after the hidden layer, and He's initial weights (:func:`kdnb.nets._shared.initialise`)
    are our choice: the summary of the paper that we worked from specifies neither.
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int | Sequence[int] = 28,
        depth: int = 2,
        width: float = 1,
    ) -> None:
        super().__init__()
        if depth not in LAYERS:
            raise ValueError(f"a plain net has {', '.join(map(str, LAYERS))} layers; got {depth}.")
        stages, hidden = LAYERS[depth]
        at_least(f"plain{depth}", image_size, 2 ** len(stages))
        self.stages = len(stages)
        channels = in_channels
        for number, widths in enumerate(stages, start=1):
            outputs = scaled(widths, width)
            self.add_module(f"stage{number}", _stage(channels, outputs))
            channels = outputs[-1]
        rows, columns = (side >> len(stages) for side in height_width(image_size))
        features = channels * rows * columns
        layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        if hidden:
            (hidden,) = scaled([hidden], width)
            layers |= {"linear": nn.Linear(features, hidden), "relu": nn.ReLU()}
        self.embedding = nn.Sequential(layers)
        self.head = nn.Linear(hidden or features, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, channels, height, width)."""
        maps = images
        for number in range(1, self.stages + 1):
            maps = self.get_submodule(f"stage{number}")(maps)
        return self.head(self.embedding(maps))


def _stage(inputs: int, widths: Sequence[int]) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, outputs in enumerate(widths, start=1):
        layers[f"conv{number}"] = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        layers[f"bn{number}"] = nn.BatchNorm2d(outputs)
        layers[f"relu{number}"] = nn.ReLU()
        inputs = outputs
    layers["pool"] = nn.MaxPool2d(2)
    return nn.Sequential(layers)
