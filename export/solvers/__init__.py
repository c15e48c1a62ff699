"""The provider's own networks: found, cut behind a backbone, widened, and what of them trains."""
