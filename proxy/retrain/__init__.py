"""The command `tensorwall retrain`; what it runs is `defenses.retraining`."""
