"""Decoding of videos over bare PyAV, loading of videos over bare decoding and resizing, and memory over 2,000 clips.

`python -m benchmarks.video_decoding leak` reads the clips in this process and prints the growth of its memory.
"""

import io
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.figures import Figure, Ratio, paired_ratio
from benchmarks.memory import in_a_process, rss
from theworld import TheWorldProcessor
from theworld.datasets.collator import Collator
from theworld.datasets.errors import VideoError
from theworld.datasets.sample import Sample, question
from theworld.datasets.video import ClipRule, read_clip

WIDTH_PX, HEIGHT_PX, RATE_HZ = 854, 480, 30
NUM_FRAMES = 300
GEMMA_PX, WORLD_PX = 896, 224  # sizes of the real models
RULE = ClipRule(16.0, 5)
NUM_COPIES = 180  # of 10 s: half an hour
NUM_CLIPS, BATCH, PAIRS = 16, 4, 7
LEAK_CLIPS = 2000


def write_clip(
    path: Path, seed: int = 0, num_frames: int = NUM_FRAMES, size: tuple[int, int] = (WIDTH_PX, HEIGHT_PX)
) -> None:
    """Write an H.264 clip of a moving picture with some noise, with the key frames and B-frames of x264's defaults."""
    rng = np.random.default_rng(seed)
    width, height = size
    small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    scene = np.asarray(small.resize((width + 200, height + 200), Image.Resampling.BICUBIC), np.int16)
    noises = rng.integers(-8, 9, (4, height, width, 3), dtype=np.int16)
    with av.open(path, "w") as container:
        track = container.add_stream("libx264", rate=RATE_HZ, options={"preset": "veryfast", "crf": "23"})
        track.width, track.height, track.pix_fmt = width, height, "yuv420p"
        for number in range(num_frames):
            left, top = int(100 + 90 * np.sin(number / 20)), int(100 + 90 * np.cos(number / 31))
            pixels = scene[top : top + height, left : left + width] + noises[number % 4]
            frame = av.VideoFrame.from_ndarray(np.clip(pixels, 0, 255).astype(np.uint8), "rgb24")
            container.mux(track.encode(frame))
        container.mux(track.encode(None))


def repeat(source: Path, path: Path, num_copies: int) -> None:
    """Write the packets of a clip again and again, as one long video."""
    with av.open(path, "w") as output:
        track = None
        for copy in range(num_copies):
            with av.open(source) as container:
                origin = container.streams.video[0]
                track = output.add_stream_from_template(origin) if track is None else track
                shift = round(copy * NUM_FRAMES / RATE_HZ / origin.time_base)
                for packet in container.demux(origin):
                    if packet.dts is not None and packet.pts is not None:
                        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, track
                        output.mux(packet)


def bare_clip(path: Path) -> list[Image.Image]:
    """Decode the same frames with PyAV alone: jump to the key frame before them, decode, and convert those."""
    with av.open(path) as container:
        track = container.streams.video[0]
        track.codec_context.thread_count = 1
        last = (container.duration or 0) / av.time_base - 1 / RATE_HZ
        due = [last - step / RULE.frame_rate_hz for step in range(RULE.num_frames - 1, -1, -1)]
        container.seek(int((due[0] - 1 / RATE_HZ) / track.time_base), stream=track)
        pictures: list[Image.Image] = []
        shown = None
        for frame in container.decode(track):
            while len(pictures) < len(due) and shown is not None and frame.time > due[len(pictures)] + 1e-3:
                pictures.append(shown.to_image())
            shown = frame
        assert shown is not None
        return pictures + [shown.to_image() for _ in range(len(due) - len(pictures))]


class Clips(Dataset[Sample]):
    """A map-style data set of videos that decodes on access."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        """Return the number of videos."""
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        """Decode a clip."""
        clip = read_clip(self.paths[index], RULE)
        asked = "What is to be seen here, and what will happen next? " * 4
        return question(str(index), clip.shown, asked, "A ball falls to the left. " * 8, clips=(clip.frames,))


def processor_seconds(work: Callable[[], object]) -> float:
    """Return the processor time of one call, also of the processes that it starts and waits for."""

    def used() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    started = used()
    work()
    return used() - started


def loading_figure(paths: list[Path]) -> Figure:
    """Compare a loader with one worker, which decodes and collates, with bare decoding and resizing."""
    processor = TheWorldProcessor.from_pretrained("tiny", world_image_size=WORLD_PX)
    processor.image_processor.size = {"height": GEMMA_PX, "width": GEMMA_PX}
    collator = Collator(processor, supervise=True)

    def loaded() -> None:
        for _ in DataLoader(Clips(paths), BATCH, num_workers=1, collate_fn=collator):
            pass

    def bare() -> None:
        for path in paths:
            pictures = bare_clip(path)
            np.asarray(pictures[-1].resize((GEMMA_PX, GEMMA_PX), Image.Resampling.BILINEAR))
            for picture in pictures:
                np.asarray(picture.resize((WORLD_PX, WORLD_PX), Image.Resampling.BICUBIC))

    ratios = []
    for pair in range(PAIRS + 1):
        order = (bare, loaded) if pair % 2 else (loaded, bare)
        spent = {work: processor_seconds(work) for work in order}
        if pair:
            ratios.append(spent[bare] / spent[loaded])
    return Figure("loading_videos_over_bare_decoding", Ratio(ratios), 0.8, at_least=True)


def leak() -> None:
    """Print the growth of the memory over 2,000 clips of sound and damaged files, after 200 for warming up."""
    contents = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("clip.mp4", "clip.mkv", "clip.avi"):
            path = Path(folder) / name
            write_clip(path, num_frames=30, size=(320, 240))
            contents += [path.read_bytes(), path.read_bytes()[:-5000]]
    file = io.BytesIO()
    first, *rest = [Image.new("RGB", (64, 64), (10 * number,) * 3) for number in range(20)]
    first.save(file, "GIF", save_all=True, append_images=rest, duration=50)
    contents.append(file.getvalue())
    before = 0
    for number in range(200 + LEAK_CLIPS):
        if number == 200:
            before = rss()
        with suppress(VideoError):
            read_clip(contents[number % len(contents)], RULE)
    print(json.dumps({"growth_bytes": rss() - before}))


def figures() -> Iterator[Figure]:
    """Measure decoding in processor time, in pairs on the same files, and the growth of memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        short, matroska = folder / "short.mp4", folder / "short.mkv"
        write_clip(short)
        write_clip(matroska)
        for path, label in ((short, "mp4"), (matroska, "mkv")):
            ratio = paired_ratio(lambda path=path: read_clip(path, RULE), lambda path=path: bare_clip(path))
            yield Figure(f"video_decoding_over_bare_pyav_{label}", ratio, 1.3)
        for label in ("mp4", "mkv"):
            path = folder / f"long.{label}"
            repeat(short, path, NUM_COPIES)
            ratio = paired_ratio(lambda path=path: read_clip(path, RULE), lambda path=path: bare_clip(path))
            # MKV has no list of its frames: the reader goes over the packets of the whole file.
            yield Figure(f"seeking_in_half_an_hour_over_bare_pyav_{label}", ratio, 1.3 if label == "mp4" else 10.0)
        paths = [folder / f"{seed}.mp4" for seed in range(4)]
        for seed, path in enumerate(paths):
            write_clip(path, seed, num_frames=90)
        yield loading_figure(paths * (NUM_CLIPS // len(paths)))
    growth = in_a_process("video_decoding", "leak")["growth_bytes"]
    yield Figure("growth_over_2000_clips", growth / 2**20, 8.0, "MiB")


if __name__ == "__main__":
    if sys.argv[1:] == ["leak"]:
        leak()
    else:
        for figure in figures():
            print(figure.line(), flush=True)
