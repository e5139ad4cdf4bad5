"""The central master: keeps the jobs, places BE work over all sites."""
