"""What lies on the disk of a box, safe against power cuts: generations, journal, checkpoints, sealed pixels."""
