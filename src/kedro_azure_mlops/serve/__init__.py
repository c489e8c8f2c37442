"""Ways to serve the score function: Azure's server, a plain server, and a bundle for devices."""
