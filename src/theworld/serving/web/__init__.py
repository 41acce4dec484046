"""A web page in front of one model: ask about a picture, and see the imagined future; needs the extra `app`."""

from importlib.util import find_spec


def require_extra() -> None:
    """Check the packages of the extra before the heavy imports.

    Raises:
        ValueError: without the extra `app`.
    """
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise ValueError(f"the extra `app` is not installed ({', '.join(missing)}): pip install 'theworld[app]'")
