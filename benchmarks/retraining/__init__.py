"""What each method of adversarial training is worth in a stated time."""
