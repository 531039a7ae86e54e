"""`tensorwall calibrate`: a model's benign profile from a sample data set or from a live model's traffic."""
