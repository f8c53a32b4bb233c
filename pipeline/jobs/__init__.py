"""Long-running hosts: they own clocks, state and clients, and drive the rules of pipeline.core."""
