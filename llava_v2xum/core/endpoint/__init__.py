"""A model behind an OpenAI-compatible endpoint: asked, paid for, and asked again."""
