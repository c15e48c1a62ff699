"""The contract: what a bundle holds, and how each byte of it is checked before anything trusts it."""
