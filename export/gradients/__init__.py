"""The derivative of each operator that trains, and the pass that carries them from the loss back to what is trained."""
