"""Models that judge: CLIP, BERTScore's encoder, and the scorers of quality."""
