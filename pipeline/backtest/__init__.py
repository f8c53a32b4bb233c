"""Replay plus truth gives a score: evaluation, reports, sweeps, comparisons, and the searches for look-ahead."""
