"""How it runs: topic provisioning, the local stack without Docker, and its description for Docker."""
