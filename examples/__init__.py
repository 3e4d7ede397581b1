"""The emitted layers at work on real data, one folder for each experiment."""
