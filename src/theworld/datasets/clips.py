"""ClipsAsImages: samples whose clips Gemma sees as well, frame by frame."""

from collections.abc import Hashable
from dataclasses import replace

from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets.sample import Sample, Samples


class ClipsAsImages:
    """The same samples; in the place of its pictures, Gemma is given every frame of the clips.

    Args:
        samples: samples with clips.
        of_slots: for conversations about true clips, whose turns ask about slots: Gemma is given the last frame of each
            slot, those of the future included, and then the sample's own pictures. Only alignment may ask for it.
    """

    def __init__(self, samples: Samples, of_slots: bool = False) -> None:
        self.samples = samples
        self.of_slots = of_slots

    def __len__(self) -> int:
        return len(self.samples)

    def shape_of(self, index: int) -> Hashable:
        """The shape of a sample, where the samples know it."""
        shape_of = getattr(self.samples, "shape_of", None)
        return None if shape_of is None else shape_of(index)

    def __getitem__(self, index: int) -> Sample:
        sample = self.samples[index]
        if sample.clips is None:
            return sample
        frames = [frame for clip in sample.clips for frame in clip]
        if self.of_slots and sample.future is not None:
            frames = [*frames, *(frame for clip in sample.future for frame in clip)][::TEMPORAL_STRIDE]
            frames += sample.images
        return replace(sample, images=tuple(frames))
