"""`tensorwall drill`: real attacks and benign workloads against a deployment, offline and as a caller would."""
