"""What the streams mean: contracts, rules, adapters, and the processes that are not GPU workers.

    posts, events ──► worker ──► scored ──► trends ──► trends, alerts ──► notifier ──► webhooks
                        └──► Redis: rolling profiles

Imports point down: ``cli → commands → demo → backtest → replay → inprocess → jobs → adapters → core → settings, telemetry,
pool → topics → events → contract → errors``.
"""
