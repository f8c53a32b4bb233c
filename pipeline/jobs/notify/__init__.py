"""The notifier: alerts out as signed webhooks, one module for each stage on the way."""
