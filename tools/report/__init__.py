"""A generation as one HTML file, and the plots that this and the benches draw."""
