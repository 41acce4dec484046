"""The trained layers between the world and Gemma: projector, time, markers, and the gated residual."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling

from theworld.modeling.configuration import WorldFields


def space_to_depth(features: Float[Tensor, "N C T h w"], grid: int) -> Float[Tensor, "N C2 T g g"]:
    """Bring a feature grid to `grid` cells a side without losing a number.

    A 2 x 2 patch of cells becomes one cell of four times the channels:

        a b | c d
        e f | g h   ->   (a b e f) (c d g h)       one channel, grid 4 -> 2 (the first two rows)
    """
    clips, channels, slots, height, width = features.shape
    if height % grid or width % grid:
        raise ValueError(f"a feature grid of {height} x {width} cells cannot be brought to {grid} x {grid}")
    if height == grid:
        return features
    flat = features.transpose(1, 2).reshape(clips * slots, channels, height, width)
    flat = F.pixel_unshuffle(flat, height // grid)
    return flat.view(clips, slots, -1, grid, grid).transpose(1, 2)


class Projector(nn.Module):
    """Maps one feature vector to the width of a Gemma token: `linear`, `mlp` or `mlp_final_gelu`."""

    def __init__(self, in_features: int, config: WorldFields) -> None:
        super().__init__()
        out = config.text.hidden_size
        width = config.world_projection_width or out
        # Hidden states of a pre-norm transformer have no common scale; latents are already normalised.
        is_hidden_state = config.world_settings().reads != "vae"
        self.norm = nn.LayerNorm(in_features) if is_hidden_state else nn.Identity()
        if config.world_projection_architecture == "linear":
            self.layers = nn.Sequential(nn.Linear(in_features, out))
        else:
            self.layers = nn.Sequential(nn.Linear(in_features, width), nn.GELU(), nn.Linear(width, out))
            if config.world_projection_architecture == "mlp_final_gelu":
                self.layers.append(nn.GELU())

    def forward(self, features: Float[Tensor, "*batch in_features"]) -> Float[Tensor, "*batch D"]:
        return self.layers(self.norm(features))

    def initialise(self) -> None:
        """Draw weights that keep the variance (std 1 / sqrt(fan in)), with zero biases; loaded tensors stay."""
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                init.normal_(layer.weight, std=layer.in_features**-0.5)
                init.zeros_(layer.bias)


class WorldBlock(nn.Module):
    """Makes the run of embeddings that replaces one clip's placeholders.

        features (N, C, T, h, w)  ->  [ SOW | slot 0: w w w w | slot 1: w w w w | EOW ]   (N, 1 + T*W + 1, D)

    Markers are parameters of this module and not rows of Gemma's table, so they train while the language model is
    frozen.
    """

    def __init__(self, config: WorldFields) -> None:
        super().__init__()
        self.grid, self.mode = config.grid, config.world_projection_mode
        self.max_past, self.max_future = config.max_past_steps, config.max_world_steps
        cells = config.native_grid**2
        in_features = (
            cells if self.mode == "channel" else config.world_channels * (config.native_grid // config.grid) ** 2
        )
        width = config.text.hidden_size
        self.projector = Projector(in_features, config)
        self.time = nn.Embedding(config.max_past_steps + 1 + config.max_world_steps, width)
        # A latent cell has no position; Gemma's image tokens have one, from SigLIP's own embeddings.
        self.place = nn.Embedding(config.tokens_per_slot, width)
        self.scale = nn.Parameter(torch.empty(width))
        self.markers = nn.Parameter(torch.empty(2, width))

    def forward(self, features: Float[Tensor, "N C T h w"], num_world_steps: int) -> Float[Tensor, "N L D"]:
        """Compute the embeddings of N clips, markers included.

        Args:
            features: of a tap.
            num_world_steps: K, the number of the T slots that come after the current one.

        Raises:
            ValueError: for more past or future slots than the time table has rows.
        """
        clips, slots = features.shape[0], features.shape[2]
        past = slots - 1 - num_world_steps
        if not 0 <= past <= self.max_past or not 0 <= num_world_steps <= self.max_future:
            raise ValueError(
                f"{slots} slots of which num_world_steps={num_world_steps} in the future leave {past} in the past: the"
                f" time table holds 0..{self.max_past} past and 0..{self.max_future} future slots"
            )
        features = features.to(self.scale.device, self.scale.dtype)
        if self.mode == "channel":
            vectors = features.transpose(1, 2).flatten(3)  # (N, T, C, h*w): a token per channel
        else:
            vectors = space_to_depth(features, self.grid).permute(0, 2, 3, 4, 1).flatten(2, 3)  # (N, T, g*g, C2)
        time = self.time(torch.arange(slots, device=features.device) - past + self.max_past)  # (T, D): 0 is now
        place = self.place(torch.arange(vectors.shape[2], device=features.device))  # (W, D)
        tokens = self.projector(vectors) + time[:, None] + place
        tokens = F.rms_norm(tokens, self.scale.shape, self.scale, eps=1e-6).flatten(1, 2)
        start, end = self.markers[:, None, None].expand(-1, clips, -1, -1)
        return torch.cat([start, tokens, end], dim=1)

    def initialise(self, embedding_rms: float) -> None:
        """Initialise tokens and markers with the root mean square of Gemma's embeddings."""
        self.projector.initialise()
        for table in (self.time, self.place):
            init.normal_(table.weight, std=0.02)
        init.constant_(self.scale, embedding_rms)
        init.normal_(self.markers, std=embedding_rms)


class WorldResidual(nn.Module):
    """Adds the world to Gemma's image tokens through a gate that starts at zero: no extra tokens.

    Slots are concatenated on channels and resampled to the image grid, so the number of slots is fixed at
    construction: num_past_steps + 1 + num_world_steps.
    """

    def __init__(self, config: WorldFields) -> None:
        super().__init__()
        self.grid, self.image_grid = config.grid, config.image_grid
        self.num_slots = config.num_past_steps + 1 + config.num_world_steps
        channels = config.world_channels * (config.native_grid // config.grid) ** 2
        width = config.text.hidden_size
        self.projector = Projector(self.num_slots * channels, config)
        self.scale = nn.Parameter(torch.empty(width))
        self.gate = nn.Parameter(torch.empty(()))

    def forward(self, features: Float[Tensor, "N C T h w"]) -> Float[Tensor, "N tokens D"]:
        """Return the residual for the image tokens of N pictures.

        Raises:
            ValueError: if the number of slots is not the one the model was built for.
        """
        if features.shape[2] != self.num_slots:
            raise ValueError(
                f"residual fusion was built for {self.num_slots} slots (num_past_steps + 1 + num_world_steps), got"
                f" {features.shape[2]}; choose num_world_steps at construction"
            )
        features = space_to_depth(features.to(self.scale.device), self.grid)
        maps = features.flatten(1, 2).float()  # (N, C2*T, g, g); CPUs cannot resample bfloat16
        if self.grid != self.image_grid:
            maps = F.interpolate(maps, size=(self.image_grid,) * 2, mode="bilinear", antialias=True)
        tokens = self.projector(maps.flatten(2).transpose(1, 2).to(self.scale.dtype))
        return self.gate * F.rms_norm(tokens, self.scale.shape, self.scale, eps=1e-6)

    def initialise(self, embedding_rms: float) -> None:
        """Close the gate; the tokens behind it get the root mean square of Gemma's embeddings."""
        self.projector.initialise()
        init.constant_(self.scale, embedding_rms)
        init.zeros_(self.gate)


def add_residual(
    image: BaseModelOutputWithPooling | None, residual: Float[Tensor, "N tokens D"]
) -> BaseModelOutputWithPooling:
    """Add the residual of each clip to the image tokens of its picture.

    Raises:
        ValueError: for another number of pictures, or of their tokens, with both numbers.
    """
    tokens = None if image is None else image.pooler_output
    if tokens is None or tokens.shape[:2] != residual.shape[:2]:
        raise ValueError(
            "residual fusion adds one clip to each picture (and takes no pan-and-scan crops):"
            f" {0 if tokens is None else len(tokens)} pictures, {len(residual)} clips"
        )
    return BaseModelOutputWithPooling(pooler_output=tokens + residual.to(tokens.device, tokens.dtype))


def touched(world: WorldBlock | WorldResidual, config: WorldFields) -> Float[Tensor, ""]:
    """Return a scalar that depends on every parameter of a world module.

    A text-only batch must train under DDP, too, which waits for the gradient of each trainable parameter.
    """
    slots = 1 if isinstance(world, WorldBlock) else world.num_slots
    shape = (1, config.world_channels, slots, config.native_grid, config.native_grid)
    features = torch.zeros(shape, device=world.scale.device)
    return (world(features, 0) if isinstance(world, WorldBlock) else world(features)).sum()
