"""The simulator: the daemons' own controllers and policies on a virtual clock."""
