"""Publishing: the durable outbox and the MQTT session that empties it."""
