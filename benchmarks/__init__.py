"""Speed and quality, measured: each module prints one JSON object last."""
