"""The short form: a picture and a question in, an answer out."""

from typing import TYPE_CHECKING, Any

from theworld.datasets.images import to_pictures

if TYPE_CHECKING:
    from theworld.modeling.model import TheWorld


_MAX_NEW_TOKENS = 64


def ask(model: "TheWorld", image: Any, question: str, num_world_steps: int | None = None, **options: Any) -> str:
    """Answer one question about one or several pictures.

    Args:
        image: whatever `datasets.images.to_pictures` takes: PIL, path, array (H, W, 3), tensor (B, 3, H, W), a list.
        question: plain text; control tokens in it are encoded as text.
        num_world_steps: K, future latent slots; default: the model's configuration.
        options: of transformers' `generate` (`max_new_tokens`, at first 64, `do_sample`, ...), and `world`: clips for
            the world model in place of the pictures.

    Raises:
        ValueError: for a picture that cannot be read, or a K that the tap cannot serve.
    """
    world = options.pop("world", None)
    inputs = conversation(model, to_pictures(image), question, num_world_steps=num_world_steps, world=world)
    return answer_of(model, inputs, options)


def conversation(model: "TheWorld", pictures: list[Any], question: str, **world: Any) -> dict[str, Any]:
    """The inputs of one question about pictures, on the model's device; `world`: as `apply_chat_template` takes it."""
    content = [{"type": "image", "image": picture} for picture in pictures] + [{"type": "text", "text": question}]
    inputs = model.processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        add_generation_prompt=True,
        **world,
    ).to(model.device)
    if "pixel_values" in inputs:
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
    return dict(inputs)


def answer_of(model: "TheWorld", inputs: dict[str, Any], options: dict[str, Any]) -> str:
    """The text that the model writes after these inputs."""
    if "generation_config" not in options:
        options = {"max_new_tokens": _MAX_NEW_TOKENS, **options}
    output = model.generate(**inputs, **options)
    sequences = output if not hasattr(output, "sequences") else output.sequences
    return model.processor.decode(sequences[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()
