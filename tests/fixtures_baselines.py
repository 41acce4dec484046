"""Small vision-language models that are no TheWorld, with random weights, in the layout of the hub."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

_TEMPLATE = """\
{%- for turn in messages -%}
<start_of_turn>{{ turn['role'] }}
{% for item in turn['content'] -%}
{{ 'PICTURE' if item['type'] == 'image' else item['text'] }}
{%- endfor -%}
<end_of_turn>
{% endfor -%}
{{- '<start_of_turn>assistant\n' if add_generation_prompt else '' -}}
"""
_VISION: Any = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 32, "intermediate_size": 64}
_TEXT: Any = {**_VISION, "num_key_value_heads": 2}


def _tokenizer(*more: str) -> Any:
    """The embedded tokenizer under the general class, with other special tokens; it pads on the right."""
    from transformers import PreTrainedTokenizerFast

    from theworld.tiny.tokenizer import train_tokenizer

    names = {"bos_token": "<bos>", "eos_token": "<end_of_turn>", "pad_token": "<pad>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=train_tokenizer().backend_tokenizer, **names)
    tokenizer.add_special_tokens({"additional_special_tokens": list(more)})
    return tokenizer


def _llava_onevision() -> tuple[Any, Any]:
    import transformers as hf

    tokenizer = _tokenizer("<image>", "<video>")
    grids = [[32, 32], [32, 64]]
    size = {"height": 32, "width": 32}
    processor = hf.LlavaOnevisionProcessor(
        image_processor=hf.LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=grids),
        tokenizer=tokenizer,
        video_processor=hf.LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=_TEMPLATE.replace("PICTURE", "<image>"),
    )
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**_VISION, image_size=32, patch_size=8, vision_use_head=False),
        text_config=hf.Qwen2Config(**_TEXT, vocab_size=len(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grids,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    return hf.LlavaOnevisionForConditionalGeneration(config), processor


def _idefics3() -> tuple[Any, Any]:
    import transformers as hf

    tokenizer = _tokenizer("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
    side = {"longest_edge": 32}
    processor = hf.Idefics3Processor(
        image_processor=hf.Idefics3ImageProcessor(size=side, max_image_size=side, do_image_splitting=False),
        tokenizer=tokenizer,
        image_seq_len=4,
        chat_template=_TEMPLATE.replace("PICTURE", "<image>"),
    )
    config = hf.Idefics3Config(
        vision_config={**_VISION, "image_size": 32, "patch_size": 8},  # pyright: ignore[reportArgumentType]
        text_config=hf.LlamaConfig(**_TEXT, vocab_size=len(tokenizer), pad_token_id=0),
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=0,  # pyright: ignore[reportCallIssue]
    )
    return hf.Idefics3ForConditionalGeneration(config), processor


def _qwen2_vl() -> tuple[Any, Any]:
    import transformers as hf

    marks = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
    tokenizer = _tokenizer(*marks)
    tokenizer.image_token, tokenizer.video_token = marks[:2]
    pad, video, start, end = tokenizer.convert_tokens_to_ids(list(marks))
    pixels: Any = {"min_pixels": 32 * 32, "max_pixels": 64 * 64}
    processor = hf.Qwen2VLProcessor(
        image_processor=hf.Qwen2VLImageProcessor(**pixels, patch_size=8, merge_size=2),
        tokenizer=tokenizer,
        video_processor=hf.Qwen2VLVideoProcessor(patch_size=8, merge_size=2),
        chat_template=_TEMPLATE.replace("PICTURE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    vision: Any = {"embed_dim": 32, "hidden_size": 32, "depth": 2, "num_heads": 2, "patch_size": 8, "mlp_ratio": 2}
    text: Any = {**_TEXT, **ends, "vocab_size": len(tokenizer), "rope_parameters": rope}
    config = hf.Qwen2VLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=pad,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    return hf.Qwen2VLForConditionalGeneration(config), processor


_BUILDERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "llava-onevision": _llava_onevision,
    "idefics3": _idefics3,
    "qwen2-vl": _qwen2_vl,
}
BASELINES = tuple(_BUILDERS)


@pytest.fixture(scope="session")
def baseline_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns the folder of a small model of a family; each is written once."""
    written: dict[str, Path] = {}

    def folder_of(family: str) -> Path:
        if family not in written:
            torch.manual_seed(0)
            model, processor = _BUILDERS[family]()
            for weight in model.parameters():  # far from uniform, so that a wrong row changes the answer
                torch.nn.init.normal_(weight, std=0.2) if weight.ndim > 1 else None
            written[family] = tmp_path_factory.mktemp("baselines") / family
            model.save_pretrained(written[family])
            processor.save_pretrained(written[family])
        return written[family]

    return folder_of
