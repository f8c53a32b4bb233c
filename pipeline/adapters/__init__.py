"""The only home of each client library: Kafka, Redis, HTTP."""
