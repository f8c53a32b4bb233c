"""Replay plus truth gives a score: written by a colleague right now (evaluation, reports, sweeps, `groundswell backtest`, NAB and injection benchmarks)."""
