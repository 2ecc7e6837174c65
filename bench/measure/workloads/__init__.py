"""What several probes run: matrix products and the parts of a transformer layer."""
