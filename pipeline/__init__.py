"""What the streams mean: contracts, rules, adapters, and the processes that are not GPU workers.

    posts, events ──► worker ──► scored ──► trends ──► trends, alerts ──► notifier ──► webhooks
                        └──► Redis: rolling profiles

Imports point down: ``cli → commands → demo → replay → jobs → adapters → core → settings, telemetry → topics → events, errors``.
"""
