"""The worker of one node: decides targets, reads usage, writes cgroups, serves requests."""
