"""Being written by a colleague right now, with pipeline/backtest; the detector and `groundswell replay` are not."""
