"""The words of the domain: frozen dataclasses, units and errors; imports nothing above it."""
