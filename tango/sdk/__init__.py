"""The Python SDK: `from tango import Client`."""
