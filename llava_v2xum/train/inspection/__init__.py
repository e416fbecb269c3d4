"""A run looked at before it runs: samples as they are learnt, statistics, faults, and what it will cost."""
