"""Texture mosaics: O2P and both NCuts layers trained end to end on photographs."""
