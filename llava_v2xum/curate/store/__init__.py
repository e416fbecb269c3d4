"""What a stage is, its work on one video, and what a file is known by."""
