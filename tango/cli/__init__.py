"""The `tango` command: thin faces over the SDK and the daemons."""
