"""What a stage is, its work on one video, and the store of what was found and what it cost."""
