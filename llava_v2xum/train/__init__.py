"""LLaVA's own `train()` with the video type, and the commands that start it."""
