"""The command `theworld`: its commands, their handlers, and how results are printed."""
