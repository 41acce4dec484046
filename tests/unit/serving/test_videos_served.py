"""Videos in requests: answered as by generate, within limits, and without making others wait."""

import base64
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

for extra in ("uvicorn", "starlette", "prometheus_client", "openai"):
    pytest.importorskip(extra, reason="the extra `serve`, or the client that asks it, is not installed")

import httpx2
import openai
from PIL import Image
from served_model import Served, as_url, asked, body, data_url, served, shown

from fixtures_clips import animation, film, moving_square
from fixtures_model import picture
from theworld.config.serving import ServeSettings
from theworld.serving import media
from theworld.serving.inputs import Preparer
from theworld.serving.refusals import RequestError

PATH, JSON = "/v1/chat/completions", {"content-type": "application/json"}
NOTE = "The models see the last 5 of 12 frames at 6 a second."


def video_url(content, kind="video/mp4"):
    return {"type": "video_url", "video_url": {"url": as_url(content, kind)}}


def about(*parts):
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "What happens next?"}]}]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return film(tmp_path_factory.mktemp("videos") / "clip.mp4").read_bytes()


@pytest.fixture(scope="module")
def gif():
    return animation([Image.fromarray(pixels) for pixels in moving_square()], "GIF")


@pytest.fixture(scope="module")
def written(fused):
    return lambda *media: fused.generate(list(media), "What happens next?", do_sample=False, max_new_tokens=6)


# --- answers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["video/mp4", "application/octet-stream", "video/quicktime"])
def test_an_answer_about_a_film_equals_that_of_generate(kind, server, clip, written):
    completion = server.ask(about(video_url(clip, kind)), max_tokens=6)
    assert completion.choices[0].message.content == written(clip)
    assert completion.world == {"clips_read": 1, "num_world_steps": 0, "notes": [NOTE]}


def test_a_gif_is_a_video_as_video_url_and_its_first_frame_as_image_url(server, gif, written):
    as_video = server.ask(about(video_url(gif, "image/gif")), max_tokens=6)
    as_image = server.ask(about(*shown(as_url(gif, "image/gif"))), max_tokens=6)
    assert as_video.choices[0].message.content == written(gif)
    assert as_image.choices[0].message.content == written(Image.fromarray(moving_square()[0]))
    assert as_image.usage.prompt_tokens < as_video.usage.prompt_tokens


def test_videos_and_pictures_of_one_request_keep_their_order(server, clip, gif, written):
    parts = [*shown(data_url(picture(1))), video_url(clip), video_url(gif, "image/gif")]
    completion = server.ask(about(*parts), max_tokens=6)
    assert completion.choices[0].message.content == written(picture(1), clip, gif)
    assert completion.world["clips_read"] == 3


def test_the_end_of_a_stream_has_the_notes(server, clip):
    *_, end = server.ask(about(video_url(clip)), max_tokens=3, stream=True)
    assert end.world["notes"] == [NOTE]


def test_without_the_world_gemma_sees_the_last_frame(server, clip, world_off):
    completion = server.ask(about(video_url(clip)), max_tokens=6, extra_body={"world": False})
    expected = world_off.generate(clip, "What happens next?", do_sample=False, max_new_tokens=6)
    assert completion.choices[0].message.content == expected
    assert completion.world["clips_read"] == 0


def test_clients_with_pictures_and_videos_at_once_are_answered_as_alone(fused, clip, written):
    with served(fused, batch_wait_ms=300) as running:
        parts = [(video_url(clip),), shown(data_url(picture(1))), (video_url(clip),), shown(data_url(picture(2)))]
        answers = running.at_once([{"messages": about(*given), "max_tokens": 6} for given in parts])
        assert [answer.choices[0].message.content for answer in answers] == [
            *(written(clip), written(picture(1))),
            *(written(clip), written(picture(2))),
        ]
        assert running.value("theworld_batch_rows_sum") == 4
        assert running.value("theworld_batch_rows_count") >= 2  # pictures and videos do not share a batch


# --- refusals ------------------------------------------------------------------------------------------------------

LIMITS = ServeSettings(
    model="test",
    max_videos=2,
    max_video_bytes=150_000,
    max_video_pixels=64 * 64,
    max_video_seconds=3.0,
    max_video_frames=30,
)


@pytest.fixture(scope="module")
def prepare(fused):
    preparer = Preparer(fused, LIMITS, "test")
    return lambda *parts: preparer(body(messages=about(*parts)), lambda event: None)


@pytest.fixture(scope="module")
def films(tmp_path_factory, clip, gif):
    folder = tmp_path_factory.mktemp("films")
    return {
        "half": clip[: len(clip) // 2],
        "wide": film(folder / "wide.mp4", moving_square(side_px=80)).read_bytes(),
        "long": film(folder / "long.mp4", moving_square(24), 6).read_bytes(),
        "fast": film(folder / "fast.mp4", moving_square(32), 24).read_bytes(),
        "still": animation([picture(1)], "GIF"),
        "half a gif": gif[: len(gif) // 2],
        "a gif that is too wide": animation([picture(seed, 80, 80) for seed in (1, 2)], "GIF"),
    }


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("half", "invalid_video", "cut short"),
        ("wide", "video_too_large", "80 x 80 px: expected at most 4,096 pixels"),
        ("long", "video_too_large", "more than 3 s"),
        ("fast", "video_too_large", "more than 30 frames"),
        ("still", "invalid_video", "one picture, and no video"),
        ("half a gif", "invalid_video", "cut short"),
        ("a gif that is too wide", "video_too_large", "80 x 80 px"),
    ],
)
def test_a_video_beyond_the_limits_or_damaged_is_refused(name, code, words, films, prepare):
    with pytest.raises(RequestError) as refused:
        prepare(video_url(films[name]))
    assert (refused.value.status, refused.value.code) == (400, code)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


def url(text):
    return {"type": "video_url", "video_url": {"url": text}}


REFUSED = {
    "an address": (url("https://example.com/a.mp4"), "unsupported_video_url", "opens no addresses"),
    "an address of the machine": (url("http://127.0.0.1/a.mp4"), "unsupported_video_url", "only data URLs"),
    "a file": (url("file:///etc/passwd"), "unsupported_video_url", "opens no addresses and no files"),
    "a path": (url("/tmp/clip.mp4"), "unsupported_video_url", "data:video/mp4;base64"),
    "a data URL of text": (url("data:text/plain;base64,aGk="), "unsupported_video_url", "only data URLs"),
    "no base64": (url("data:video/mp4;base64,a*b"), "invalid_video", "not base64"),
    "nothing": (video_url(b""), "invalid_video", "not a readable video"),
    "no video": (video_url(b"no video at all"), "invalid_video", "expected MP4"),
    "a list of addresses": (video_url(b"#EXTM3U\nhttp://127.0.0.1/a.ts\n"), "invalid_video", "not a readable video"),
    "a list of files": (video_url(b"ffconcat version 1.0\nfile /etc/passwd\n"), "invalid_video", "not a readable"),
    "a photo": (url(data_url(picture(1), "JPEG")), "invalid_video", "not a readable video"),
    "too many bytes": (video_url(b"0" * 150_001), "video_too_large", "150,001 bytes: expected at most 150,000"),
    "a text as a video": ({"type": "video_url", "video_url": "a"}, "invalid_value", "video_url: should be an object"),
    "an option": ({"type": "video_url", "video_url": {"url": "a", "fps": 2}}, "invalid_value", "fps: unknown field"),
    "a video as a picture": (shown("data:video/mp4;base64,AAAA")[0], "unsupported_image_url", "of type video_url"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_thing_than_a_video_is_refused(case, prepare):
    part, code, words = REFUSED[case]
    with pytest.raises(RequestError) as refused:
        prepare(part)
    assert (refused.value.status, refused.value.code) == (400, code)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_number_of_videos_has_a_limit_of_its_own(prepare, clip):
    with pytest.raises(RequestError, match="3 videos: expected at most 2") as refused:
        prepare(*[video_url(clip)] * 3)
    assert refused.value.code == "too_many_videos"
    assert prepare(*shown(*[data_url(picture(1))] * 3), video_url(clip)).row.num_clips == 4


def test_a_video_that_takes_too_long_is_refused(fused, clip):
    preparer = Preparer(fused, ServeSettings(model="test", max_video_decode_seconds=1e-9), "test")
    with pytest.raises(RequestError, match="takes too long to decode") as refused:
        preparer(body(messages=about(video_url(clip))), lambda event: None)
    assert refused.value.code == "video_too_large"


def test_only_a_user_shows_videos(fused, clip):
    messages = [{"role": "system", "content": [video_url(clip)]}, *asked("What?")]
    with pytest.raises(RequestError, match="only a user shows pictures"):
        Preparer(fused, LIMITS, "test")(body(messages=messages), lambda event: None)


def test_a_refusal_reaches_the_client_and_the_server_goes_on(server, clip):
    with pytest.raises(openai.BadRequestError, match="not a readable video") as refused:
        server.ask(about(video_url(clip[:2000])))
    assert refused.value.code == "invalid_video"
    assert server.ask(about(video_url(clip)), max_tokens=1).choices


# --- threads -------------------------------------------------------------------------------------------------------


def test_pictures_texts_and_refusals_do_not_wait_behind_videos(server: Served, clip, monkeypatch):
    held, decode = threading.Event(), media.decode_video

    def slow(content, rule, settings):
        assert held.wait(60)
        return decode(content, rule, settings)

    monkeypatch.setattr("theworld.serving.inputs.decode_video", slow)
    with ThreadPoolExecutor(4) as clients:
        answers = [clients.submit(server.ask, about(video_url(clip)), max_tokens=1) for _ in range(4)]
        while server.api._num_preparing < 4:
            time.sleep(0.01)
        try:
            assert server.ask(asked("Which bin?"), max_tokens=1).choices
            assert server.ask(asked("Which bin?", 1), max_tokens=1).choices
            content = body(messages=about(url("data:video/mp4;base64," + base64.b64encode(b"none").decode())))
            assert httpx2.post(server.address + PATH, content=content, headers=JSON, timeout=60).status_code == 400
            assert not any(answer.done() for answer in answers)
        finally:
            held.set()
        assert all(answer.result().choices for answer in answers)
