"""Experts, their fusion and the global head, trained jointly. Independent of the web service and its database."""
