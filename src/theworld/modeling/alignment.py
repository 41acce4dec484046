"""The loss of alignment of world tokens with image tokens; separate because nothing else in the fusion needs it."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def unexplained(block: Float[Tensor, "N L D"], seen: Float[Tensor, "M P D"]) -> Float[Tensor, ""]:
    """Compute the loss of alignment: the share of the image tokens' variance that world tokens do not explain.

    Args:
        block: world tokens of N clips of T slots, between two markers: L = 1 + T g^2 + 1.
        seen: Gemma's image tokens of the M = N T pictures of these slots, oldest first; resampled to g x g.
    """
    tokens = block[:, 1:-1].unflatten(1, (len(seen) // len(block), -1)).flatten(0, 1)  # (M, g^2, D)
    target = _resampled(seen.to(block.device).float(), round(tokens.shape[1] ** 0.5))
    error = (tokens.float() - target).square().mean() / (target - target.mean((0, 1))).square().mean()
    markers = (block[:, 0] + block[:, -1]).float().sum()  # not compared, but DDP waits for their gradients
    return error + 0 * markers


def _resampled(tokens: Float[Tensor, "M P D"], grid: int) -> Float[Tensor, "M W D"]:
    side = round(tokens.shape[1] ** 0.5)
    if side == grid:
        return tokens
    maps = tokens.transpose(1, 2).unflatten(2, (side, side))
    return F.interpolate(maps, size=(grid, grid), mode="bilinear", antialias=True).flatten(2).transpose(1, 2)
