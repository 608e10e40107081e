"""Faults of every part of the service, caused at random moments while clients use it, and what must hold afterwards.

`make faults` runs every fault with many seeds; `test_short.py` runs the quick ones once.
"""
