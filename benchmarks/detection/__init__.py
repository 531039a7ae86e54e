"""What detection finds, how early, and what it leaves alone: `make bench-detection`."""
