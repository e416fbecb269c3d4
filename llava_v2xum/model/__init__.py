"""The thin plugin: LLaVA-1.5 with a video type, its tokens, and its checkpoints."""
