"""The simulator: the controllers and policies of the daemons on a virtual clock."""
