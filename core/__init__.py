"""Experts, their fusion and the global head, trained jointly. Knows neither the web nor a database."""
