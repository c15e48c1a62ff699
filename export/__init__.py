"""The half of Reverie that runs on a workstation: a torch classifier becomes a bundle that trains on a box."""
