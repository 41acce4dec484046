"""Decoded videos and prompts of NVIDIA's weights pass its guardrail; features and the embedded world never meet it."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures_model import picture
from theworld import TheWorld
from theworld.config import WorldSettings
from theworld.experiments.probe import probe
from theworld.modeling.introspection import imagine
from theworld.world import guardrail
from theworld.world.factory import open_tap
from theworld.world.guardrail import Guardrail, GuardrailRequiredError, UnsafeVideoError, is_nvidias, show
from theworld.world.loading import load_vae

NVIDIA = "nvidia/Cosmos-Predict2-2B-Video2World"
LATENTS = torch.zeros(2, 16, 2, 8, 8)

PACKAGE = """
import torch
torch.set_grad_enabled(False)  # as the real one's dependency retinaface does

class CosmosSafetyChecker:
    log = []
    def __init__(self):
        torch.set_grad_enabled(False)
        self.log.append("loaded")
        {at_load}
    def to(self, device=None, dtype=None):
        self.log.append(str(device))
    def check_text_safety(self, prompt):
        torch.set_grad_enabled(False)
        return "bomb" not in prompt
    def check_video_safety(self, frames):
        torch.set_grad_enabled(False)
        self.log.append((frames.shape, str(frames.dtype)))
        return {verdict}
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Puts a stand-in for cosmos_guardrail in the place of the real one; what it is asked is in its log."""
    fresh = Guardrail()
    monkeypatch.setattr(guardrail, "guardrail", lambda: fresh)

    def install(verdict: str = "255 - frames", at_load: str = "pass") -> Any:
        (tmp_path / "cosmos_guardrail.py").write_text(PACKAGE.format(verdict=verdict, at_load=at_load))
        monkeypatch.syspath_prepend(tmp_path)
        return lambda: sys.modules["cosmos_guardrail"].CosmosSafetyChecker.log

    yield install
    sys.modules.pop("cosmos_guardrail", None)
    torch.set_grad_enabled(True)


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without the extra."""
    fresh = Guardrail()
    monkeypatch.setattr(guardrail, "guardrail", lambda: fresh)
    monkeypatch.setitem(sys.modules, "cosmos_guardrail", None)


@pytest.fixture(scope="module")
def vae(world: Callable[..., WorldSettings]) -> Any:
    return load_vae(world("vae")).requires_grad_(False)


def test_nvidias_video_passes_its_guardrail_and_gradients_stay_as_they_were(vae: Any, installed: Any) -> None:
    log = installed()
    plain = show(vae, LATENTS, "tiny")
    passed = show(vae, LATENTS, NVIDIA)
    assert torch.equal(passed, 255 - plain)
    assert log() == ["loaded", "cpu", "cpu", *2 * [((5, 64, 64, 3), "uint8")], "cpu"]
    assert torch.is_grad_enabled()
    with torch.no_grad():
        show(vae, LATENTS, NVIDIA)
        assert not torch.is_grad_enabled()
    assert log().count("loaded") == 1


def test_a_video_that_does_not_pass_is_not_shown(vae: Any, installed: Any) -> None:
    installed("None")
    with pytest.raises(UnsafeVideoError, match="unsafe: it is not shown"):
        show(vae, LATENTS, NVIDIA)
    assert torch.is_grad_enabled()


def test_a_prompt_is_asked_about(installed: Any) -> None:
    installed()
    checker = Guardrail()
    assert checker.check_text_safety("a ball falls")
    assert not checker.check_text_safety("a bomb falls")
    assert torch.is_grad_enabled()


def test_the_embedded_world_never_asks(vae: Any, missing: None) -> None:
    assert show(vae, LATENTS, "tiny").shape == (2, 5, 64, 64, 3)
    assert show(vae, LATENTS, "/somewhere/my-own-world").shape == (2, 5, 64, 64, 3)


def test_without_the_extra_the_error_names_it_and_the_licence(vae: Any, missing: None) -> None:
    with pytest.raises(
        GuardrailRequiredError, match=r"NVIDIA Open Model License, https://.*theworld\[guardrail\]"
    ) as said:
        show(vae, LATENTS, NVIDIA)
    assert "\n" not in str(said.value)
    with pytest.raises(GuardrailRequiredError, match=r"theworld\[guardrail\]"):
        Guardrail().check_text_safety("a ball falls")


def test_a_guardrail_that_lacks_a_library_names_it(vae: Any, installed: Any, tmp_path: Path) -> None:
    installed()
    (tmp_path / "cosmos_guardrail.py").write_text("import torch\ntorch.set_grad_enabled(False)\nimport no_retinaface")
    with pytest.raises(GuardrailRequiredError, match="no_retinaface is missing: pip install"):
        show(vae, LATENTS, NVIDIA)
    assert torch.is_grad_enabled()


def test_weights_of_the_guardrail_that_the_hub_refuses_are_told_in_one_line(vae: Any, installed: Any) -> None:
    gated = "from huggingface_hub.errors import LocalEntryNotFoundError as Absent; raise Absent('away')"
    installed(at_load=gated)
    with pytest.raises(
        GuardrailRequiredError, match=r"its weights nvidia/Cosmos-1\.0-Guardrail do not load: away"
    ) as said:
        show(vae, LATENTS, NVIDIA)
    assert "\n" not in str(said.value)
    assert torch.is_grad_enabled()


def test_a_copy_of_nvidias_weights_is_known_by_its_vae(vae: Any) -> None:
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    with torch.device("meta"):
        full_size = AutoencoderKLWan()
    assert is_nvidias("/data/copied/cosmos", full_size)
    assert is_nvidias(NVIDIA, vae)
    assert not is_nvidias("/data/my-own-world", vae)


def rollout() -> TheWorld:
    model = TheWorld.from_pretrained("tiny", world_tap="rollout", num_inference_steps=2)
    model.config.cosmos_model_name = NVIDIA
    return model


def test_what_is_imagined_passes_the_guardrail(installed: Any) -> None:
    log = installed("frames * 0")
    assert not imagine(rollout(), picture(1), 1).any()
    assert ((5, 64, 64, 3), "uint8") in log()


def test_a_future_is_not_computed_that_could_not_be_shown(missing: None) -> None:
    model = rollout()
    with pytest.raises(GuardrailRequiredError):
        imagine(model, picture(1), 1)
    assert model.tap is not None
    assert model.tap.clips_read == 0


def test_futures_that_a_program_watches_pass_it_too(
    world: Callable[..., WorldSettings], missing: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guardrail, "is_nvidias", lambda name, vae: True)
    with pytest.raises(GuardrailRequiredError):
        probe.watch_futures(world("rollout"), ("drop",), num_items=1)


def test_features_of_nvidias_weights_need_none(
    world: Callable[..., WorldSettings], clips: torch.Tensor, missing: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guardrail, "is_nvidias", lambda name, vae: True)
    for tap, steps in (("vae", 0), ("dit", 1), ("rollout", 1)):
        assert open_tap(world(tap)).read(clips[:1, :1], steps, [1]).isfinite().all()


def test_no_other_module_decodes() -> None:
    package = Path(guardrail.__file__).parents[1]
    imports = re.compile(r"^ *from theworld.world.vae import .*\bdecode\b", re.MULTILINE)
    found = {path.relative_to(package).as_posix() for path in package.rglob("*.py") if imports.search(path.read_text())}
    assert {path for path in found if not path.startswith("recipes/")} == {"world/guardrail.py"}
