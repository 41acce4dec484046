"""HTTP servers in front of one model: an OpenAI-compatible API (extra `serve`), and a web page (extra `app`)."""

from importlib.util import find_spec


def require_extra() -> None:
    """Check the packages of the extra before the heavy imports.

    Raises:
        ValueError: without the extra `serve`.
    """
    missing = [name for name in ("prometheus_client", "starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise ValueError(f"the extra `serve` is not installed ({', '.join(missing)}): pip install 'theworld[serve]'")
