"""The expressions of each pass, spelled so that nothing cancels or is factored twice."""
