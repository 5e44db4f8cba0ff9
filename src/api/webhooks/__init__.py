"""Webhooks for the systems of organisations, after the Standard Webhooks convention (standardwebhooks.com).

``routes`` and ``registry`` register targets, ``deliveries`` is the outbox, ``dispatcher`` sends from it,
``network`` guards what is sent where, ``signing`` signs it.
"""
