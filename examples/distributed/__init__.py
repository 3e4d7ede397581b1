"""Layers over several processes: batches in parallel, and one image whose rows are spread."""
