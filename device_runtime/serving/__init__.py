"""The generation in service: it predicts, proves itself, and is left for the one before it where it fails."""
