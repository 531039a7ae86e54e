"""`tensorwall calibrate`: a model's benign profile from a sample data set, recorded traffic or a running proxy's."""
