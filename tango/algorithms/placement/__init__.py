"""Where replicas and tasks go: one Filter/Score framework, its plugins, and what builds on it.

Only `replicas` and `spread` may be imported where numpy is not installed; the rest needs the
extra `solver`.
"""
