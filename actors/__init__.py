"""Evenfill's Ray side: replicas, the coordinator actor, start-up and supervision."""
