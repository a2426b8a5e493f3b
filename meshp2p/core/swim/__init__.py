"""Membership: probing, suspicion, dissemination, sync, election, hosted instances."""
