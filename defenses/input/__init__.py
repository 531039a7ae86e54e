"""Input preprocessing: cleaned inputs, batch in and batch out."""
