"""An OpenAI-compatible server in front of one model; needs the extra `serve`."""

from importlib.util import find_spec


def require_extra() -> None:
    """Say what is missing before anything is loaded.

    Raises:
        ValueError: without the extra `serve`.
    """
    missing = [name for name in ("prometheus_client", "starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise ValueError(f"the extra `serve` is not installed ({', '.join(missing)}): pip install 'theworld[serve]'")
