"""The components: one folder a registry, one small file a component."""
