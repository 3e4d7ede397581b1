"""The shape of an emitted file, one folder for each target."""
