"""Durable messages: outbox, mailboxes, delivery, acknowledgement."""
