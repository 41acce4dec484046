"""A page in the browser in front of one model: ask about a picture, see what it imagined; needs the extra `app`."""

from importlib.util import find_spec


def require_extra() -> None:
    """Say what is missing before anything is loaded.

    Raises:
        ValueError: without the extra `app`.
    """
    missing = [name for name in ("av", "starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise ValueError(f"the extra `app` is not installed ({', '.join(missing)}): pip install 'theworld[app]'")
