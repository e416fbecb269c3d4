"""What `gpu.py` runs: its steps, each in a process of its own, and the table that they fill."""
