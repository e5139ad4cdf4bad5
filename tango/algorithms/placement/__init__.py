"""Where replicas and tasks go: one Filter/Score framework, its plugins, and what builds on it.

Only `replicas`, `spread`, `layer_index` and `known_images` may be imported where numpy is not
installed; the rest needs the extra `solver`.
"""
