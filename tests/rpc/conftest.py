"""Being here puts this directory on the path: tests below it use its probes too."""
