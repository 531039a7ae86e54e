"""Query-pattern detectors: small classes over batches of observations."""
