"""What runs on the GPU: batching, encoding, and the loop around them."""
