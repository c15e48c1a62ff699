"""From folders of images to a trained solver, generator and discriminator."""
