"""What detection costs: calls a second and CPU seconds of a real proxy with detection off, in shadow and enforced."""
