"""Speed and quality, measured: with ``--json`` each benchmark prints one JSON object last."""
