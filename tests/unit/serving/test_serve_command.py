"""`theworld serve` as a process: its address, its end by a signal, and refusals before the model loads."""

import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

for extra in ("uvicorn", "starlette", "prometheus_client", "openai"):
    pytest.importorskip(extra, reason="the extra `serve`, or the client that asks it, is not installed")

import openai
from served_model import asked

from theworld import TheWorld, serving
from theworld.cli import main as cli
from theworld.config.serving import ServeSettings
from theworld.serving import api

# The command, with a model that prints a line for each question and waits for a line before it answers.
_WAITING = """
import sys, torch
torch.set_num_threads(1)
from theworld.cli import main as cli
from theworld.modeling import TheWorld
read = TheWorld.read_world
def read_world(*args):
    print("asked", flush=True)
    sys.stdin.readline()
    return read(*args)
TheWorld.read_world = read_world
sys.exit(cli.main(["serve", "tiny", "--port", "0", "--num-world-steps", "0"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_the_running_answer_with_exit_code_0(sent):
    process = subprocess.Popen(
        [sys.executable, "-c", _WAITING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process, ThreadPoolExecutor(1) as pool:
        try:
            announced = process.stdout.readline()
            assert announced.startswith("serving tiny at http://127.0.0.1:")
            address = announced.split()[-1]
            with openai.OpenAI(base_url=address, api_key="none", max_retries=0) as client:
                create = client.chat.completions.create
                answered = pool.submit(create, model="tiny", messages=asked("Which bin?", 1), max_tokens=4)
                assert process.stdout.readline() == "asked\n"
                process.send_signal(sent)
                print(file=process.stdin, flush=True)
                assert answered.result().choices[0].message.content
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert re.search(r"^answered +1$", output, re.MULTILINE)
    assert "Traceback" not in errors


def refused(capsys, *arguments):
    assert cli.main(["serve", "tiny", *arguments]) == cli.REFUSED
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    return output.err


def test_an_address_in_use_is_refused_before_the_model_loads(capsys, monkeypatch):
    monkeypatch.setattr(api, "open_served", lambda settings: pytest.fail("a model was loaded"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}: Address already in use" in refused(capsys, "--port", str(port))


def test_an_empty_key_is_refused(capsys, monkeypatch):
    monkeypatch.setenv("THEWORLD_API_KEY", "")
    assert "THEWORLD_API_KEY is empty" in refused(capsys)


def test_a_missing_extra_is_named_with_its_remedy(capsys, monkeypatch):
    monkeypatch.setattr(serving, "find_spec", lambda name: None)
    assert "pip install 'theworld[serve]'" in refused(capsys)


def test_the_key_cannot_be_a_flag(capsys):
    assert "secrets never go into settings" in refused(capsys, "--api-key", "x")


def test_limits_that_contradict_each_other_are_refused(capsys):
    assert "default_new_tokens=256 is more than max_new_tokens=10" in refused(capsys, "--max-new-tokens", "10")


def test_a_model_of_true_futures_cannot_be_served(tmp_path):
    model = TheWorld.from_pretrained("tiny", world_tap="true-future", num_world_steps=1)
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="reads true futures, which no client can show"):
        api.open_served(ServeSettings(model=str(tmp_path / "model")))
    assert not api.open_served(ServeSettings(model=str(tmp_path / "model"), enable_world=False)).config.enable_world


def test_help_and_import_need_no_server():
    look = (
        "import sys, theworld, theworld.cli.main; theworld.cli.main.main(['serve', '--help']);"
        " print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, env=os.environ)
    assert not {"torch", "starlette", "uvicorn", "prometheus_client"} & set(done.stderr.split())
