"""`python -m theworld`: the same as the command `theworld`."""

from theworld.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
