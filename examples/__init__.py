"""The emitted layers at work on real data; each folder with a `__main__` is one command."""
